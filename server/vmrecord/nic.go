package vmrecord

import (
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// MAC returns a NIC's canonical address; empty for other devices and for a NIC without a valid address.
func MAC(d truenas.Device) string {
	if d.Attributes.DType != truenas.DeviceNIC {
		return ""
	}
	mac, _ := spec.CanonicalMAC(d.Attributes.MAC)
	return mac
}

// WithMAC returns the filter for the VMs with a NIC of this canonical address, in all spellings that TrueNAS accepts.
func WithMAC(mac string) truenas.Filter {
	return truenas.Cond("devices.*.attributes.mac", "~", "(?i)"+strings.ReplaceAll(mac, ":", "[:-]?")+"$")
}

// HasMAC reports whether one of the VMs, except for the given one, has a NIC with this canonical address.
func HasMAC(vms []truenas.VM, mac, except string) bool {
	for _, vm := range vms {
		if vm.UUID == except {
			continue
		}
		for _, d := range vm.Devices {
			if MAC(d) == mac {
				return true
			}
		}
	}
	return false
}

// HasDuplicateNICs reports whether two NICs have the same MAC address.
func HasDuplicateNICs(vm truenas.VM) bool {
	seen := map[string]bool{}
	return slices.ContainsFunc(vm.Devices, func(d truenas.Device) bool {
		mac := MAC(d)
		duplicate := mac != "" && seen[mac]
		seen[mac] = true
		return duplicate
	})
}
