package inventory

import (
	"encoding/json"
	"testing"

	"virtrigaud-provider-truenas/truenas"
)

// TestDevicesOfEventsAreInBootOrder: events list devices by id, and the root disk may have been made last.
func TestDevicesOfEventsAreInBootOrder(t *testing.T) {
	vm, kind := decodeOver(truenas.VM{ID: 1}, json.RawMessage(`{"status":{"state":"STOPPED"},"devices":[{"id":1,"order":1001},{"id":2,"order":1100},{"id":3,"order":1000}]}`))
	if vm == nil || kind != 2 || len(vm.Devices) != 3 {
		t.Fatalf("decoded %+v, %d", vm, kind)
	}
	for i, want := range []int64{3, 1, 2} {
		if vm.Devices[i].ID != want {
			t.Errorf("device %d is %d, want %d", i, vm.Devices[i].ID, want)
		}
	}
}
