package spec

import (
	"encoding/hex"
	"net"
	"strings"
)

// CanonicalMAC writes an Ethernet address in lower case with colons, whatever its spelling: TrueNAS
// takes and keeps colons, hyphens and no separators at all. It reports false for anything but six bytes.
func CanonicalMAC(text string) (string, bool) {
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
