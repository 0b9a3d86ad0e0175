package server

import (
	"testing"

	"virtrigaud-provider-truenas/truenas"
)

// TestCDROMNamedLikeASeed: the CD-ROM is the user's, unless it has the path of this VM's seed.
func TestCDROMNamedLikeASeed(t *testing.T) {
	t.Parallel()
	const name = "seed-0123456789abcdef.iso"
	for file, want := range map[string]bool{
		"/mnt/tank/virtrigaud/vms/web_1/" + name:          true,
		"/mnt/tank/virtrigaud/vms/web_2/" + name:          false,
		"/mnt/tank/isos/seed-/debian.iso":                 false,
		"/mnt/tank/isos/seed-debian.iso":                  false,
		"/mnt/tank/virtrigaud/vms/web_1/seed-of-mine.iso": false,
		"/mnt/tank/virtrigaud/vms/web_1/below/" + name:    false,
		"/mnt/tank/virtrigaud/vms/web_1/" + name + ".old": false,
	} {
		vm := truenas.VM{Name: "web_1", Devices: []truenas.Device{{Attributes: truenas.DeviceAttributes{DType: truenas.DeviceCDROM, Path: file}}}}
		if got := seedPathOf(vm) == file; got != want {
			t.Errorf("%s counts as the VM's seed: %t", file, got)
		}
	}
}
