package server

import (
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// MACOf is a NIC's canonical address; empty for other devices and for a NIC without a valid address.
func macOf(d truenas.Device) string {
	if d.Attributes.DType != truenas.DeviceNIC {
		return ""
	}
	mac, _ := spec.CanonicalMAC(d.Attributes.MAC)
	return mac
}

// hasMAC reports whether one of the VMs other than except has a NIC with this canonical address.
func hasMAC(vms []truenas.VM, mac, except string) bool {
	for _, vm := range vms {
		if vm.UUID == except {
			continue
		}
		for _, d := range vm.Devices {
			if macOf(d) == mac {
				return true
			}
		}
	}
	return false
}
