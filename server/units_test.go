package server

import (
	"testing"

	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// A thick disk reserves space when TrueNAS has not reserved all of it, and only then.
func TestReserves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		disk plannedDisk
		want bool
	}{
		{"a thick volume that is made", plannedDisk{thick: true, bytes: 8}, false},
		{"a thick clone", plannedDisk{thick: true, has: 4, bytes: 8}, true},
		{"a thick clone of one byte", plannedDisk{thick: true, has: 1, bytes: 1}, true},
		{"a thick volume with all of its space", plannedDisk{thick: true, has: 8, bytes: 8, reserved: 8}, false},
		{"a thick volume that is larger than requested", plannedDisk{thick: true, has: 9, bytes: 8, reserved: 8}, true},
		{"a thin clone", plannedDisk{has: 4, bytes: 8}, false},
	} {
		if got := tt.disk.reserves(); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
}

func TestInOrder(t *testing.T) {
	t.Parallel()
	vm := truenas.VM{}
	for _, volume := range []string{"tank/root", "tank/theirs", "tank/data"} {
		vm.Devices = append(vm.Devices, truenas.Device{Attributes: truenas.Disk("/dev/zvol/" + volume), Order: len(vm.Devices)})
	}
	for _, tt := range []struct {
		name   string
		wanted []string
		want   bool
	}{
		{"as wanted", []string{"tank/root", "tank/data"}, true},
		{"without one that the VM lacks", []string{"tank/root", "tank/new", "tank/data"}, true},
		{"none of them", []string{"tank/new"}, true},
		{"in another sequence", []string{"tank/data", "tank/root"}, false},
		{"the root disk not first", []string{"tank/theirs", "tank/data"}, false},
	} {
		if got := vmrecord.InOrder(vm, tt.wanted); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
}
