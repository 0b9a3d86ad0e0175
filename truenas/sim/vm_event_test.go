package sim

import (
	"encoding/json"
	"slices"
	"testing"
)

// received reads n events and formats each: message, number, state, and libvirt's word beside the row. "-" means a row without
// devices.
func received(t *testing.T, p *peerConn, collection string, n int) []string {
	t.Helper()
	var list []string
	for range n {
		e := p.event(collection)
		text := e.Params.Msg
		if e.Params.Fields != nil {
			var fields struct {
				Devices *[]any
				Status  struct{ State string }
			}
			if err := json.Unmarshal(e.Params.Fields, &fields); err != nil {
				t.Fatal(err)
			}
			text += " " + fields.Status.State
			if fields.Devices == nil {
				text += "-"
			}
		}
		if e.Params.Extra != nil {
			var extra struct{ State string }
			if err := json.Unmarshal(e.Params.Extra, &extra); err != nil {
				t.Fatal(err)
			}
			text += " " + extra.State
		}
		list = append(list, text)
	}
	return list
}

// The events of a VM when it is created, changed, started, suspended, resumed, powered off and deleted.
func TestVMEvents(t *testing.T) {
	start := []string{"changed UPDATING CONFIGURATION- RUNNING", "added SUSPENDED- NOSTATE", "added SUSPENDED- NOSTATE", "changed RUNNING- SHUTDOWN", "changed RUNNING- BLOCKED"}
	off := []string{"changed SHUTOFF- CRASHED", "changed SHUTOFF- SHUTOFF"}
	libvirt := func(made, changed string) []string {
		return slices.Concat([]string{"added SHUTOFF- NOSTATE", made, changed}, start,
			[]string{"changed SUSPENDED- SUSPENDED", "changed RUNNING- SHUTDOWN"}, off, start, off, []string{"changed UPDATING CONFIGURATION- RUNNING", "removed"})
	}
	rows := []string{
		"added STOPPED", "changed STOPPED", "changed RUNNING", "changed RUNNING", "changed SUSPENDED", "changed RUNNING", "changed STOPPED", "changed STOPPED",
		"changed RUNNING", "changed RUNNING", "changed STOPPED", "changed STOPPED", "changed STOPPED", "removed",
	}
	for release, want := range map[string][]string{
		"25.04.2": libvirt("added", "changed"), // Its events of records have no row.
		"25.10":   libvirt("added STOPPED", "changed STOPPED"),
		"26":      rows,
		"27":      rows,
	} {
		t.Run(release, func(t *testing.T) {
			n := newWire(t, Config{Release: release})
			p := n.login()
			p.must("core.subscribe", "vm.query")
			p.must("vm.create", object{"name": "one", "memory": 512})
			p.must("vm.device.create", object{"vm": 1, "attributes": object{"dtype": "NIC"}}) // Not an event of the VM.
			p.must("vm.update", 1, object{"memory": 1024})
			for _, method := range []string{"vm.start", "vm.suspend", "vm.resume", "vm.poweroff", "vm.start"} {
				p.must(method, 1)
			}
			n.PowerOffGuest("one")
			p.must("vm.delete", 1)
			if got := received(t, p, "vm.query", len(want)); !slices.Equal(got, want) {
				t.Errorf("the events are\n%q, want\n%q", got, want)
			}
		})
	}
}

// Rule 25: devices have events. Other devices that move because of the same order have none.
func TestDeviceEvents(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newWire(t, Config{Release: release})
			p := n.login()
			p.must("core.subscribe", "vm.device.query")
			p.must("vm.create", object{"name": "one", "memory": 512})
			p.must("vm.device.create", object{"vm": 1, "attributes": object{"dtype": "NIC"}})
			p.must("vm.device.create", object{"vm": 1, "attributes": object{"dtype": "NIC"}, "order": 7})
			p.must("vm.device.update", 1, object{"order": 7})
			p.must("vm.device.delete", 1)
			p.must("vm.delete", 1)
			var got []string
			for range 5 {
				e := p.event("vm.device.query")
				if (e.Params.Fields == nil) != (release == "25.04.2" || e.Params.Msg == "removed") {
					t.Errorf("%s has the fields %s", e.Params.Msg, e.Params.Fields)
				}
				got = append(got, e.Params.Msg+string(mustJSON(t, e.Params.ID)))
			}
			if want := []string{"added1", "added2", "changed1", "removed1", "removed2"}; !slices.Equal(got, want) {
				t.Errorf("the events are %q, want %q", got, want)
			}
		})
	}
}
