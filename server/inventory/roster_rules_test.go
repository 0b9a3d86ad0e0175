package inventory

import (
	"encoding/json"
	"fmt"
	"testing"

	"virtrigaud-provider-truenas/truenas"
)

// stored is a roster with the list of two VMs, each with a device.
func stored() *roster {
	r := newRoster()
	r.takeList([]truenas.VM{row(1, "STOPPED"), row(2, "STOPPED")}, Moment{})
	return r
}

// row is the record of a VM with one device; its UUID is uuid-<id>.
func row(id int64, state string) truenas.VM {
	return truenas.VM{ID: id, UUID: fmt.Sprint("uuid-", id), Status: truenas.VMStatus{State: state}, Devices: []truenas.Device{{ID: 10 * id, VM: id, Order: 1000}}}
}

// shows is an event that shows VM 1 in a state, with or without its devices.
func shows(seq uint64, state string, devices bool) truenas.Event {
	fields := fmt.Sprintf(`{"status":{"state":%q}}`, state)
	if devices {
		fields = fmt.Sprintf(`{"status":{"state":%q},"devices":[{"id":10,"vm":1,"order":1000}]}`, state)
	}
	return truenas.Event{Kind: truenas.EventChanged, ID: 1, Seq: seq, Fields: json.RawMessage(fields)}
}

// TestEventsOfOneKindKeepTheirOrder: the entry is current again when the last event shows the stored state, provided that no event of
// another kind can have overtaken it.
func TestEventsOfOneKindKeepTheirOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []truenas.Event
		known  bool
	}{
		{"the stored state", []truenas.Event{shows(1, "STOPPED", true)}, true},
		{"the stored state, without devices", []truenas.Event{shows(1, "STOPPED", false)}, true},
		{"the stored state, in libvirt's words", []truenas.Event{shows(1, "SHUTOFF", true)}, true},
		{"another state", []truenas.Event{shows(1, "RUNNING", true)}, false},
		{"a state that the API does not define", []truenas.Event{shows(1, "PAUSED", true)}, false},
		{"there and back", []truenas.Event{shows(1, "RUNNING", true), shows(2, "STOPPED", true)}, true},
		{"there and back, without devices", []truenas.Event{shows(1, "RUNNING", false), shows(2, "STOPPED", false)}, true},
		{"there and back, in events of two kinds", []truenas.Event{shows(1, "RUNNING", false), shows(2, "STOPPED", true)}, false},
		{"there and back, in events of two kinds the other way round", []truenas.Event{shows(1, "RUNNING", true), shows(2, "STOPPED", false)}, false},
		{"back after events of two kinds", []truenas.Event{shows(1, "RUNNING", true), shows(2, "RUNNING", false), shows(3, "STOPPED", true)}, false},
		{"there and back, and a device changed meanwhile", []truenas.Event{shows(1, "RUNNING", true), {ID: 10, Seq: 2}, shows(3, "STOPPED", true)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := stored()
			for _, e := range tt.events {
				if e.ID == 10 {
					r.deviceEvent(e)
				} else {
					r.vmEvent(e)
				}
			}
			if _, known := r.known("uuid-1"); known != tt.known {
				t.Errorf("known: %t, want %t", known, tt.known)
			}
			if _, known := r.known("uuid-2"); !known {
				t.Error("the other VM is stale")
			}
		})
	}
}

// TestLatestIsTheLastEvent: when a query fails, the VM of the last event serves, if the event was complete.
func TestLatestIsTheLastEvent(t *testing.T) {
	r := stored()
	if vm, ok := r.latest("uuid-1"); ok {
		t.Errorf("without an event: %+v", vm)
	}
	r.vmEvent(shows(1, "RUNNING", true))
	if vm, ok := r.latest("uuid-1"); !ok || vm.Status.State != truenas.StateRunning || vm.UUID != "uuid-1" {
		t.Errorf("got %+v, %t", vm, ok)
	}
	if _, ok := r.latest("uuid-3"); ok {
		t.Error("a VM that was never seen has a state")
	}
	r.deviceEvent(truenas.Event{Kind: truenas.EventChanged, ID: 10, Seq: 2})
	if vm, ok := r.latest("uuid-1"); ok {
		t.Errorf("after its device changed: %+v", vm)
	}
	r.vmEvent(shows(3, "RUNNING", true))
	r.takeOne("uuid-1", []truenas.VM{row(1, "RUNNING")}, Moment{r.clock, 3})
	if vm, ok := r.latest("uuid-1"); ok {
		t.Errorf("after a reply: %+v", vm)
	}
}

// TestRepliesThatWereOvertaken: a reply counts only if none about the same VM was stored since its query, and a VM that was deleted
// since does not reappear.
func TestRepliesThatWereOvertaken(t *testing.T) {
	r := stored()
	before := Moment{r.clock, 0}
	if r.takeOne("uuid-1", []truenas.VM{row(1, "RUNNING")}, before) {
		t.Error("the first reply is refused")
	}
	if !r.takeOne("uuid-1", []truenas.VM{row(1, "STOPPED")}, before) {
		t.Error("a reply to an earlier query is stored")
	}
	if vm, ok := r.known("uuid-1"); !ok || vm.Status.State != "RUNNING" {
		t.Errorf("got %+v, %t", vm, ok)
	}
	if r.takeOne("uuid-2", []truenas.VM{row(2, "RUNNING")}, before) {
		t.Error("a reply about another VM is refused")
	}
	r.note(row(1, "STOPPED"), before)
	if vm, ok := r.known("uuid-1"); ok {
		t.Errorf("a VM that may be too old is current: %+v", vm)
	}

	before = Moment{r.clock, 0}
	r.vmEvent(truenas.Event{Kind: truenas.EventRemoved, ID: 2, Seq: 1})
	if _, ok := r.known("uuid-2"); ok {
		t.Error("a deleted VM is known")
	}
	if !r.takeOne("uuid-2", []truenas.VM{row(2, "RUNNING")}, before) {
		t.Error("a reply from before the deletion is stored")
	}
	r.note(row(2, "RUNNING"), before)
	r.vmEvent(truenas.Event{Kind: truenas.EventChanged, ID: 2, Seq: 2})
	r.takeList([]truenas.VM{row(1, "RUNNING"), row(2, "RUNNING")}, before)
	if _, ok := r.known("uuid-2"); ok || r.vms[2] != nil {
		t.Error("a deleted VM reappears")
	}
	if r.takeOne("uuid-2", []truenas.VM{row(2, "RUNNING")}, Moment{r.clock, 2}) {
		t.Error("a reply from after the deletion is refused")
	}
	if _, ok := r.known("uuid-2"); !ok {
		t.Error("a VM that was made again is unknown")
	}
	if r.takeOne("uuid-2", nil, Moment{r.clock, 2}) {
		t.Error("the reply that it is gone is refused")
	}
	if _, ok := r.known("uuid-2"); ok {
		t.Error("a VM that the NAS does not have is known")
	}
}

// TestTheOldestOfADuplicate: TrueNAS does not keep UUIDs unique.
func TestTheOldestOfADuplicate(t *testing.T) {
	second := func(id int64) truenas.VM { return truenas.VM{ID: id, UUID: "shared", Name: fmt.Sprint(id)} }
	for _, rows := range [][]truenas.VM{{second(3), second(5)}, {second(5), second(3)}} {
		r := newRoster()
		r.takeList(rows, Moment{})
		if vm, ok := r.known("shared"); !ok || vm.ID != 3 {
			t.Errorf("got %+v, %t", vm, ok)
		}
	}
}

// TestAllEntriesBecomeStale: after missed events, and while a new device may be any VM's, no entry is current. A list resolves both.
func TestAllEntriesBecomeStale(t *testing.T) {
	for name, makeStale := range map[string]func(*roster){
		"a new connection":            func(r *roster) { r.vmEvent(truenas.Event{Kind: truenas.EventReset, Seq: 1}) },
		"events of VMs were lost":     func(r *roster) { r.vmEvent(truenas.Event{Kind: truenas.EventLost, Seq: 1}) },
		"events of devices were lost": func(r *roster) { r.deviceEvent(truenas.Event{Kind: truenas.EventLost, Seq: 1}) },
		"events of devices begin":     func(r *roster) { r.deviceEvent(truenas.Event{Kind: truenas.EventReset, Seq: 1}) },
		"a device of an unknown VM":   func(r *roster) { r.deviceEvent(truenas.Event{Kind: truenas.EventAdded, ID: 99, Seq: 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := stored()
			makeStale(r)
			if _, ok := r.known("uuid-1"); ok || r.ready() {
				t.Error("the entry is current")
			}
			early := Moment{r.clock, 0}
			r.takeList([]truenas.VM{row(1, "STOPPED")}, early)
			if r.ready() {
				t.Error("a list of before makes the copy current")
			}
			if r.takeList([]truenas.VM{row(1, "STOPPED")}, Moment{r.clock, 1}) || !r.ready() {
				t.Error("a list of after does not")
			}
			if r.vms[2] != nil {
				t.Error("a VM that is not in the list remains")
			}
			if !r.takeList(nil, early) {
				t.Error("an older list is stored after a newer one")
			}
		})
	}
	r := newRoster()
	if r.ready() {
		t.Error("a copy without a list is complete")
	}
	r.deviceEvent(truenas.Event{Kind: truenas.EventAdded, ID: 99, Seq: 1})
	r.deviceEvent(truenas.Event{Kind: truenas.EventRemoved, ID: 99, Seq: 2})
	if len(r.orphans) > 0 {
		t.Error("a device that was removed again still belongs to some VM")
	}
}

// TestSettle: marks that only serve to compare replies go when there are many. Replies to queries of before are refused then.
func TestSettle(t *testing.T) {
	r := stored()
	for i := range settleAt - 1 {
		r.gone[int64(i+100)] = Moment{}
	}
	before := Moment{r.clock, 0}
	r.settle()
	if len(r.gone) != settleAt-1 {
		t.Error("few marks were dropped")
	}
	r.queried["uuid-9"] = r.tick()
	r.settle()
	if len(r.gone)+len(r.queried) > 0 {
		t.Error("many marks remain")
	}
	if !r.takeOne("uuid-9", []truenas.VM{row(9, "RUNNING")}, before) {
		t.Error("a reply that may be older than a dropped mark is stored")
	}
}

// TestForget makes one VM stale until it is read again, also by queries that are in flight.
func TestForget(t *testing.T) {
	r := stored()
	before := Moment{r.clock, 0}
	r.forget("uuid-1")
	if _, ok := r.known("uuid-1"); ok || r.stale != 1 {
		t.Error("the entry is current")
	}
	if !r.takeOne("uuid-1", []truenas.VM{row(1, "STOPPED")}, before) {
		t.Error("a reply to a query of before is stored")
	}
	if r.takeOne("uuid-1", []truenas.VM{row(1, "RUNNING")}, Moment{r.clock, 0}) || r.stale != 0 {
		t.Error("a reply to a query of after is refused, or leaves it stale")
	}
	r.forget("uuid-3") // Nothing is known of it.
}
