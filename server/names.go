package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxNasName is the longest name, in bytes, that a VM or a disk gets on the NAS. A ZFS path ends
// at 255 bytes and holds two such names, the configured dataset and a snapshot's name.
const maxNasName = 72

// imageSuffixes are the endings by which TrueNAS tells an image file from a volume when it
// converts one into the other; a volume whose name ends so can never be converted.
var imageSuffixes = []string{"qcow2", "qed", "raw", "vdi", "vhdx", "vmdk"}

// nasName maps a name from Kubernetes or Omni to one that TrueNAS allows (letters, digits and
// the underscore) so that two different names never meet: a hyphen becomes an underscore, and
// whatever else TrueNAS refuses becomes a Z and its byte in hexadecimal, as does Z itself.
// A name that grows too long keeps its beginning and ends in a hash of the whole.
func nasName(name string) string {
	escaped := escapedName(name)
	if len(escaped) <= maxNasName {
		return escaped
	}
	return shortened(escaped, name)
}

// shortened keeps the beginning of a name and ends it in a hash of all of it.
func shortened(escaped, whole string) string {
	sum := sha256.Sum256([]byte(whole))
	// "Z_" never stands in a short name, where two hexadecimal digits or another Z follow every Z.
	return escaped[:maxNasName-34] + "Z_" + hex.EncodeToString(sum[:16])
}

func escapedName(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case c == '-':
			b.WriteByte('_')
		case c >= 'a' && c <= 'z', c >= 'A' && c < 'Z', c >= '0' && c <= '9':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "Z%02x", c)
		}
	}
	return b.String()
}

// qualifiedName is the name on the NAS of a VM, a clone or an import that a namespace of Kubernetes holds, so that equal names in
// two namespaces stay apart. The separator "ZZ" cannot come out of [nasName]. Without a namespace it is nasName.
func qualifiedName(namespace, name string) string {
	if namespace == "" {
		return nasName(name)
	}
	full := escapedName(namespace) + "ZZ" + escapedName(name)
	if len(full) <= maxNasName {
		return full
	}
	return shortened(full, namespace+"\x00"+name)
}

// rootDisk is the volume name of a VM's root disk.
const rootDisk = "root"

// diskVolumeName is the volume name of an additional disk. It differs from the root disk's, and
// it never ends like an image file. A trailing Z cannot come out of [nasName], so the names of
// two disks stay apart.
func diskVolumeName(name string) string {
	v := nasName(name)
	if v == rootDisk {
		return v + "Z"
	}
	for _, suffix := range imageSuffixes {
		if strings.HasSuffix(v, suffix) {
			return v + "Z"
		}
	}
	return v
}
