package main

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/statuspage"
	"virtrigaud-provider-truenas/omni"
)

// statusPage is the page of the adapter: its machine requests and backends, and the NAS if the provider runs inside the program.
func statusPage(watching *observe.Observer, counted *adapterMetrics, o *options) func(context.Context) statuspage.Page {
	return func(ctx context.Context) statuspage.Page {
		page := statuspage.Page{Title: "TrueNAS provider for Omni", Subtitle: o.id, State: statuspage.Mark{Text: "Waiting for leadership", Tone: statuspage.Idle}, Footer: watching.Build.String()}
		page.Facts = []statuspage.Fact{{Name: "Omni", Value: o.endpoint}}
		if working := counted.working.Load(); working != nil {
			adapted(&page, working.Overview())
		}
		if provider := watching.Provider(); provider != nil {
			backend := statuspage.Provider(watching, provider, "")(ctx)
			page.Trouble, page.Tiles = cmp.Or(page.Trouble, backend.Trouble), append(page.Tiles, backend.Tiles...)
			page.Facts, page.Sections = append(page.Facts, backend.Facts...), append(page.Sections, backend.Sections...)
		} else {
			page.Facts = append(page.Facts, statuspage.Fact{Name: "Running", Value: "for " + statuspage.Since(watching.Began), Note: watching.Build.Version})
		}
		return page
	}
}

// adapted adds the adapter's data.
func adapted(page *statuspage.Page, o omni.Overview) {
	page.State = statuspage.Mark{Text: "Working", Tone: statuspage.Good}
	done, troubled := 0, 0
	requests := statuspage.Section{Title: "Machine requests", Columns: []string{"Request", "Step", "For", "Provider", "VM"}, Empty: "Omni requests no machines."}
	var rows []statuspage.Row
	for _, r := range o.Requests {
		step := statuspage.Cell{Text: r.Step, Tone: statuspage.Busy, Note: r.Text}
		switch {
		case r.Step == omni.StepDone:
			step.Tone, done = statuspage.Good, done+1
		case r.Text != "":
			step.Tone, troubled = statuspage.Bad, troubled+1
		}
		machine := statuspage.Cell{Text: cmp.Or(r.VM, "–"), Code: r.VM != "", Number: true}
		if r.Joined {
			machine.Note = "has joined Omni"
		}
		rows = append(rows, statuspage.Row{{Text: r.ID, Note: r.Set}, step, {Text: statuspage.Since(r.Since), Number: true}, {Text: cmp.Or(r.Provider, "–")}, machine})
	}
	requests.Rows, requests.More = statuspage.Rows(rows)
	page.Tiles = []statuspage.Tile{{Number: strconv.Itoa(done) + " of " + strconv.Itoa(len(o.Requests)), Name: "requests provisioned"}}
	if troubled > 0 {
		page.Tiles = append(page.Tiles, statuspage.Tile{Number: strconv.Itoa(troubled), Name: "requests in trouble", Tone: statuspage.Bad})
	}
	page.Sections = []statuspage.Section{requests, providersOf(o), troublesOf(o)}
}

func providersOf(o omni.Overview) statuspage.Section {
	s := statuspage.Section{Title: "Providers", Columns: []string{"Name", "State", "Checked"}}
	grouped := slices.ContainsFunc(o.Providers, func(b omni.ProviderState) bool { return b.FailureDomain != b.Name })
	if grouped {
		s.Columns = slices.Insert(s.Columns, 1, "Failure domain")
	}
	for _, b := range o.Providers {
		state := statuspage.Cell{Text: "usable", Tone: statuspage.Good}
		switch {
		case b.Checked.IsZero():
			state = statuspage.Cell{Text: "not checked yet", Tone: statuspage.Idle}
		case b.Err != nil:
			state = statuspage.Cell{Text: "not usable", Tone: statuspage.Bad, Note: b.Err.Error()}
		}
		row := statuspage.Row{{Text: b.Name}, state, {Text: statuspage.Ago(b.Checked), Number: true}}
		if grouped {
			row = slices.Insert(row, 1, statuspage.Cell{Text: b.FailureDomain})
		}
		s.Rows = append(s.Rows, row)
	}
	return s
}

func troublesOf(o omni.Overview) statuspage.Section {
	s := statuspage.Section{Title: "Faults that need an operator", Columns: []string{"Trouble"}, Empty: "Nothing."}
	for _, text := range o.Troubles {
		s.Rows = append(s.Rows, statuspage.Row{{Text: text}})
	}
	return s
}
