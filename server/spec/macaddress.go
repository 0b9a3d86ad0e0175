package spec

import (
	"encoding/hex"
	"net"
	"strings"
)

// CanonicalMAC returns an Ethernet address in lower case with colons: TrueNAS accepts and keeps colons, hyphens and no separators
// at all. It returns false unless the address has six bytes.
func CanonicalMAC(text string) (string, bool) {
	bytes, err := hex.DecodeString(strings.NewReplacer(":", "", "-", "", ".", "").Replace(text))
	if err != nil || len(bytes) != 6 {
		return "", false
	}
	return net.HardwareAddr(bytes).String(), true
}

// unicastMAC reports whether a canonical address can belong to one card. The hypervisor refuses a multicast address that TrueNAS
// accepts.
func unicastMAC(mac string) bool {
	bytes, err := net.ParseMAC(mac)
	return err == nil && bytes[0]&1 == 0 && mac != "00:00:00:00:00:00"
}
