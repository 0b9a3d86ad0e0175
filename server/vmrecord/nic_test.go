package vmrecord

import (
	"testing"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

func TestMACsOfAnySpelling(t *testing.T) {
	const mac = "02:00:00:0a:0b:0c"
	for _, spelling := range []string{mac, "02:00:00:0A:0B:0C", "02-00-00-0a-0b-0c", "0200000a0b0c", "0200.000A.0B0C"} {
		vm := truenas.VM{UUID: "other", Devices: []truenas.Device{{Attributes: truenas.NIC("br0", spelling, "VIRTIO")}}}
		if !HasMAC([]truenas.VM{vm}, mac, "own") || HasMAC([]truenas.VM{vm}, mac, "other") {
			t.Errorf("%s is not recognized", spelling)
		}
	}
	for _, wrong := range []string{"", "02:00:00:0a:0b", "02:00:00:0a:0b:0c:0d", "02:00:00:0a:0b:0g", "02:00:5e:10:00:00:00:01"} {
		if got, ok := spec.CanonicalMAC(wrong); ok {
			t.Errorf("%q counts as %s", wrong, got)
		}
	}
}
