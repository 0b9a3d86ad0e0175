package omni

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxLabel is the maximum length of a host name in DNS.
const maxLabel = 63

// hostName returns a request's id as a host name. Ids consist of a cluster's name and a few random characters, and may be longer
// than a host name. A hash of the id replaces the part beyond the limit, so that names stay unique.
func hostName(id string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, id)
	name = strings.Trim(name, "-")
	if name == id && len(name) <= maxLabel {
		return name
	}
	sum := sha256.Sum256([]byte(id))
	suffix := "-" + hex.EncodeToString(sum[:4])
	if room := maxLabel - len(suffix); len(name) > room {
		name = strings.TrimRight(name[:room], "-")
	}
	return strings.TrimLeft(name+suffix, "-")
}
