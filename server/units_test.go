package server

import (
	"testing"

	"virtrigaud-provider-truenas/truenas"
)

// A thick disk reserves space when TrueNAS has not reserved all of it, and only then.
func TestReserves(t *testing.T) {
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
		if got := inOrder(vm, tt.wanted); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
}

// isoName reads the name of the Rock Ridge extension, and does not read beyond a damaged entry.
func TestISOName(t *testing.T) {
	entry := func(plain string, more ...string) []byte {
		e := append(make([]byte, 32), byte(len(plain)))
		e = append(e, plain...)
		if len(plain)%2 == 0 {
			e = append(e, 0)
		}
		for _, m := range more {
			e = append(e, m...)
		}
		return e
	}
	for _, tt := range []struct {
		name string
		of   []byte
		want string
	}{
		{"plain", entry("META_DAT.;1"), "META_DAT"},
		{"plain of even length", entry("USERDATA.;12"), "USERDATA"},
		{"Rock Ridge", entry("META_DAT.;1", "NM\x0e\x01\x00meta-data"), "meta-data"},
		{"after another extension", entry("META_DAT.;1", "PX\x06\x01\x00x", "NM\x0e\x01\x00meta-data"), "meta-data"},
		{"an empty extension", entry("A.;1", "NM\x05\x01\x00"), ""},
		{"an extension without length", entry("A.;1", "NM\x04\x01\x00x"), "A"},
		{"an extension that is cut", entry("A.;1", "NM\x0e\x01\x00meta"), "A"},
		{"a name that is cut", append(make([]byte, 32), 9, 'A'), ""},
	} {
		if got := isoName(tt.of); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
