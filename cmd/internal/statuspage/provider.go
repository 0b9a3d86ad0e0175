package statuspage

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/listen"
	"virtrigaud-provider-truenas/truenas"
)

// Provider returns the page of a provider. nas is the address of its NAS.
func Provider(watching *observe.Observer, provider *server.Server, nas string) func(context.Context) Page {
	return func(ctx context.Context) Page {
		o := provider.Overview(ctx)
		images, troubles := provider.Images(ctx), watching.Journal.Last()
		p := Page{Title: "TrueNAS provider", Subtitle: o.ID, State: stateOf(o.NAS), Tiles: tilesOf(o, images)}
		if !o.NAS.Connected && o.NAS.Err != nil {
			p.Trouble = "The NAS cannot be used at the moment: " + o.NAS.Err.Error()
		}
		p.Facts = factsOf(o, watching, nas)
		if len(o.Jobs) > 0 {
			p.Sections = append(p.Sections, jobsOf(o.Jobs))
		}
		p.Sections = append(p.Sections, imagesOf(images))
		stock := provider.Stock(ctx)
		p.Sections = append(p.Sections, poolsOf(stock.Pools))
		if len(stock.Devices) > 0 {
			p.Sections = append(p.Sections, devicesOf(stock.Devices))
		}
		if len(troubles) > 0 { // Show faults before a long list of VMs.
			p.Sections = append(p.Sections, Troubles(troubles), vmsOf(o), capabilitiesOf(o))
		} else {
			p.Sections = append(p.Sections, vmsOf(o), capabilitiesOf(o), Troubles(nil))
		}
		p.Footer = watching.Build.String()
		return p
	}
}

func stateOf(s truenas.Status) Mark {
	if s.Connected {
		return Mark{"Connected", Good}
	}
	return Mark{"Not connected", Bad}
}

func tilesOf(o server.Overview, images []server.ImageState) []Tile {
	running := 0
	for _, vm := range o.VMs {
		if vm.State == truenas.StateRunning {
			running++
		}
	}
	preparing := 0
	for _, i := range images {
		if i.Running {
			preparing++
		}
	}
	tiles := []Tile{{"–", "VMs running", ""}}
	if o.Listed {
		tiles = []Tile{{fmt.Sprintf("%d of %d", running, len(o.VMs)), "VMs running", good(running)}}
	}
	tiles = append(tiles, Tile{strconv.Itoa(len(images) - preparing), "images", ""})
	if preparing > 0 {
		tiles = append(tiles, Tile{strconv.Itoa(preparing), "being prepared", Busy})
	}
	tiles = append(tiles, Tile{strconv.Itoa(len(o.Jobs)), "jobs of the NAS", busy(len(o.Jobs))})
	if asked := o.Inventory.Hits + o.Inventory.Misses; asked > 0 {
		tiles = append(tiles, Tile{fmt.Sprintf("%d %%", o.Inventory.Hits*100/asked), "answered from memory", ""})
	}
	if o.NAS.Connected {
		tiles = append(tiles, Tile{Quick(o.NAS.Latency), "to the NAS", ""})
	}
	return tiles
}

func good(n int) Tone {
	if n > 0 {
		return Good
	}
	return ""
}

func busy(n int) Tone {
	if n > 0 {
		return Busy
	}
	return ""
}

// trusts are the reasons to trust the certificate of the NAS.
var trusts = map[truenas.Trust]string{
	truenas.TrustPinned: "matches the pinned one", truenas.TrustChain: "signed by a trusted authority", truenas.TrustNothing: "not checked",
}

func factsOf(o server.Overview, watching *observe.Observer, nas string) []Fact {
	address := cmp.Or(nas, "–")
	if u, err := url.Parse(o.NAS.Endpoint); err == nil && u.Host != "" {
		address = u.Host
	}
	facts := []Fact{{Name: "NAS", Value: address, Note: o.NAS.System}}
	if o.NAS.Connected {
		facts = append(facts, Fact{Name: "Connected", Value: "for " + Since(o.NAS.Since), Note: apiOf(o.NAS.Endpoint)})
	} else {
		facts = append(facts, Fact{Name: "Away", Value: "for " + Since(o.NAS.Since)})
	}
	facts = append(facts,
		Fact{Name: "Dataset", Value: o.Dataset, Code: true},
		Fact{Name: "Key may", Value: cmp.Or(strings.Join(o.NAS.Roles, ", "), "not known"), Code: true},
		Fact{Name: "Running", Value: "for " + Since(watching.Began), Note: watching.Build.Version})
	if o.NAS.Certificate != "" {
		facts = append(facts, Fact{Name: "Certificate", Value: o.NAS.Certificate, Note: trusts[o.NAS.Trust], Code: true, Wide: true})
	}
	return facts
}

// apiOf returns the API version of an endpoint.
func apiOf(endpoint string) string {
	_, version, found := strings.Cut(endpoint, "/api/")
	if !found {
		return ""
	}
	return "API " + version
}

func vmsOf(o server.Overview) Section {
	s := Section{Title: "Virtual machines", Columns: []string{"Name", "State", "Size", "Addresses", "Id"}, Empty: "There are none."}
	switch {
	case !o.Listed:
		s.Empty = "Not known yet."
	case !o.NAS.Connected:
		s.Note = "as of the last contact with the NAS"
	}
	var rows []Row
	for _, vm := range o.VMs {
		name := Cell{Text: vm.Name}
		if !vm.Managed {
			name.Note = "not made by this provider"
		}
		rows = append(rows, Row{
			name, {Text: strings.ToLower(vm.State), Tone: toneOf(vm.State)},
			{Text: fmt.Sprintf("%d CPUs, %s", vm.CPUs, Size(vm.MemoryMiB<<20)), Number: true}, {Text: cmp.Or(strings.Join(vm.Addresses, ", "), "–")}, {Text: vm.ID, Code: true, Number: true},
		})
	}
	s.Rows, s.More = Rows(rows)
	return s
}

func toneOf(state string) Tone {
	switch state {
	case truenas.StateRunning:
		return Good
	case truenas.StateStopped:
		return Idle
	case truenas.StateSuspended:
		return Warn
	}
	return Bad
}

func imagesOf(images []server.ImageState) Section {
	s := Section{Title: "Images", Columns: []string{"Name", "State", "Disk", "From"}, Empty: "None. ImagePrepare or the first VM from an image creates them."}
	var rows []Row
	for _, i := range images {
		state := Cell{Text: "ready", Tone: Good}
		switch {
		case i.Running:
			state = Cell{Text: transferred(i.Done), Progress: &Progress{i.Done.Percent()}, Note: "begun " + Ago(i.Since)}
		case i.Err != nil:
			state = Cell{Text: "failed", Tone: Bad, Note: Ago(i.Since) + ": " + i.Err.Error()}
		}
		size := "–"
		if i.Bytes > 0 {
			size = Size(i.Bytes)
		}
		rows = append(rows, Row{{Text: cmp.Or(i.Name, "–"), Note: shortened(i.Dataset)}, state, {Text: size, Number: true}, {Text: cmp.Or(i.Source, "–"), Code: i.Source != ""}})
	}
	s.Rows, s.More = Rows(rows)
	return s
}

// poolsOf shows the usage of each pool.
func poolsOf(pools []server.PoolState) Section {
	s := Section{Title: "Pools", Columns: []string{"Name", "State", "Used", "Free"}, Empty: "Not known yet."}
	var rows []Row
	for _, p := range pools {
		name, state := Cell{Text: p.Name}, Cell{Text: cmp.Or(strings.ToLower(p.Status), "not known"), Tone: Idle}
		if !p.InUse {
			name.Note = "not among the allowed pools"
		}
		switch {
		case p.Locked:
			state = Cell{Text: "locked", Tone: Warn}
		case p.Status != "" && p.Healthy:
			state.Tone = Good
		case p.Status != "":
			state.Tone = Bad
		}
		used := Cell{Text: "–"}
		if total := p.UsedBytes + p.FreeBytes; total > 0 {
			percent := int(100 * float64(p.UsedBytes) / float64(total))
			used = Cell{Text: fmt.Sprintf("%d %% of %s", percent, Size(total)), Progress: &Progress{percent}}
		}
		rows = append(rows, Row{name, state, used, {Text: Size(p.FreeBytes), Number: true}})
	}
	s.Rows, s.More = Rows(rows)
	return s
}

// devicesOf shows the devices of the NAS for pass-through, and the VM that has each.
func devicesOf(devices []server.HostDevice) Section {
	s := Section{Title: "Devices for VMs", Columns: []string{"Name", "Kind", "Device", "VM"}}
	var rows []Row
	for _, d := range devices {
		holder := Cell{Text: "free", Tone: Good}
		if d.Holder != "" {
			holder = Cell{Text: d.Holder}
		}
		rows = append(rows, Row{{Text: d.Name, Code: true}, {Text: d.Kind}, {Text: d.Description}, holder})
	}
	s.Rows, s.More = Rows(rows)
	return s
}

// transferred formats the progress and the speed of an image.
func transferred(p disk.Progress) string {
	text := Size(p.Done)
	if p.Percent() >= 0 {
		text = fmt.Sprintf("%d %% of %s", p.Percent(), Size(p.Total))
	}
	if rate := int64(p.Rate()); rate > 0 {
		text += fmt.Sprintf(", %s/s", Size(rate))
	}
	if left := p.Left(); left >= time.Second {
		text += ", " + Lasting(left) + " left"
	}
	return text
}

// shortened removes most of the key from the name of an image's dataset.
func shortened(dataset string) string {
	folder, key := path.Split(dataset)
	if len(key) > 12 {
		key = key[:12] + "…"
	}
	return folder + key
}

func jobsOf(jobs []truenas.Job) Section {
	s := Section{Title: "Jobs on the NAS", Columns: []string{"Job", "Progress", "Begun"}}
	var rows []Row
	for _, j := range jobs {
		begun := Cell{Text: "–"}
		if j.TimeStarted != nil {
			begun.Text = Ago(*j.TimeStarted)
		}
		progress := Cell{Text: fmt.Sprintf("%.0f %%", j.Progress.Percent), Note: j.Progress.Description, Progress: &Progress{int(j.Progress.Percent)}}
		rows = append(rows, Row{{Text: j.Method, Note: "no. " + strconv.FormatInt(int64(j.ID), 10)}, progress, begun})
	}
	s.Rows, s.More = Rows(rows)
	return s
}

// Troubles shows the most recent failures.
func Troubles(troubles []listen.Fault) Section {
	s := Section{Title: "Last errors", Columns: []string{"What", "When", "Error"}, Empty: "None since the start."}
	for _, t := range troubles {
		when, said := Cell{Text: Ago(t.Last), Number: true}, Cell{Text: t.Text}
		if t.Code != codes.Unknown {
			said.Note = t.Code.String()
		}
		if t.Times > 1 {
			when.Note = fmt.Sprintf("%d times in %s", t.Times, Lasting(t.Last.Sub(t.First)))
		}
		s.Rows = append(s.Rows, Row{{Text: t.What, Note: t.About}, when, said})
	}
	return s
}

func capabilitiesOf(o server.Overview) Section {
	s := Section{Title: "Capabilities", Note: "with this release and this key", Empty: "Not known before the first connection."}
	for _, c := range o.Capabilities {
		if c.Offered {
			s.Marks = append(s.Marks, Mark{c.Name, Good})
		}
	}
	for _, c := range o.Capabilities {
		if !c.Offered {
			s.Marks = append(s.Marks, Mark{"no " + c.Name, Idle})
		}
	}
	return s
}
