package server

import (
	"encoding/hex"
	"net"
	"strings"

	"virtrigaud-provider-truenas/truenas"
)

// canonicalMAC writes an Ethernet address in lower case with colons, whatever its spelling: TrueNAS
// takes and keeps colons, hyphens and no separators at all. It reports false for anything but six bytes.
func canonicalMAC(text string) (string, bool) {
	bytes, err := hex.DecodeString(strings.NewReplacer(":", "", "-", "", ".", "").Replace(text))
	if err != nil || len(bytes) != 6 {
		return "", false
	}
	return net.HardwareAddr(bytes).String(), true
}

// unicastMAC reports whether a canonical address can belong to one card. A domain with a multicast
// address cannot be defined, and TrueNAS accepts it all the same.
func unicastMAC(mac string) bool {
	bytes, err := net.ParseMAC(mac)
	return err == nil && bytes[0]&1 == 0 && mac != "00:00:00:00:00:00"
}

// macOf is a NIC's canonical address; empty for other devices and for a NIC without a valid address.
func macOf(d truenas.Device) string {
	if d.Attributes.DType != truenas.DeviceNIC {
		return ""
	}
	mac, _ := canonicalMAC(d.Attributes.MAC)
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
