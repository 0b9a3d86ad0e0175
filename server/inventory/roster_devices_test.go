package inventory

import (
	"encoding/json"
	"testing"

	"virtrigaud-provider-truenas/truenas"
)

// TestDeviceEventMakesVMStale: the next read of a VM sees a device that another client added, changed or removed, and other
// VMs stay cached.
func TestDeviceEventMakesVMStale(t *testing.T) {
	disk := truenas.Device{ID: 7, VM: 1}
	for _, tt := range []struct {
		name       string
		event      truenas.Event
		one, other bool // whether the VM with the device, and another, are still known
	}{
		{"added", truenas.Event{Kind: truenas.EventAdded, ID: 8, Fields: json.RawMessage(`{"vm":1}`)}, false, true},
		{"changed", truenas.Event{Kind: truenas.EventChanged, ID: 7, Fields: json.RawMessage(`{"vm":1}`)}, false, true},
		{"removed", truenas.Event{Kind: truenas.EventRemoved, ID: 7}, false, true},
		{"moved to the other VM", truenas.Event{Kind: truenas.EventChanged, ID: 7, Fields: json.RawMessage(`{"vm":2}`)}, false, false},
		{"changed, on 25.04", truenas.Event{Kind: truenas.EventChanged, ID: 7}, false, true},
		{"added, on 25.04", truenas.Event{Kind: truenas.EventAdded, ID: 8}, false, false},
		{"removed, and never seen", truenas.Event{Kind: truenas.EventRemoved, ID: 8}, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoster()
			r.takeList([]truenas.VM{{ID: 1, UUID: "one", Devices: []truenas.Device{disk}}, {ID: 2, UUID: "other"}}, Moment{})
			tt.event.Seq = 1
			r.deviceEvent(tt.event)
			_, one := r.known("one")
			_, other := r.known("other")
			if one != tt.one || other != tt.other {
				t.Errorf("known: %t and %t, want %t and %t", one, other, tt.one, tt.other)
			}
		})
	}
}

// TestOwnDevicesAreFound: on 25.04 a new device may belong to any VM, until its VM is read.
func TestOwnDevicesAreFound(t *testing.T) {
	r := newRoster()
	r.takeList([]truenas.VM{{ID: 1, UUID: "one"}}, Moment{})
	r.deviceEvent(truenas.Event{Kind: truenas.EventAdded, ID: 8, Seq: 1})
	r.note(truenas.VM{ID: 1, UUID: "one", Devices: []truenas.Device{{ID: 8, VM: 1}}}, Moment{clock: r.clock, heard: 1})
	if _, ok := r.known("one"); !ok {
		t.Error("the VM that was just read with the new device is stale")
	}
}
