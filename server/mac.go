package server

import (
	"strings"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// macOf is a NIC's canonical address; empty for other devices and for a NIC without a valid address.
func macOf(d truenas.Device) string {
	if d.Attributes.DType != truenas.DeviceNIC {
		return ""
	}
	mac, _ := spec.CanonicalMAC(d.Attributes.MAC)
	return mac
}

// hasCard is the filter for the VMs with a NIC of this canonical address, in all spellings that TrueNAS takes.
func hasCard(mac string) truenas.Filter {
	return truenas.Cond("devices.*.attributes.mac", "~", "(?i)"+strings.ReplaceAll(mac, ":", "[:-]?")+"$")
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
