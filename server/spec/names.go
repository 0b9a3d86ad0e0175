package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// MaxNASName is the longest name, in bytes, of a VM or a disk on the NAS. A ZFS path ends at 255 bytes and holds two such names,
// the configured dataset and a snapshot's name.
const MaxNASName = 72

// imageSuffixes are the suffixes by which TrueNAS distinguishes an image file from a volume when it converts one into the
// other. It cannot convert a volume whose name has such a suffix.
var imageSuffixes = []string{"qcow2", "qed", "raw", "vdi", "vhdx", "vmdk"}

// NASName maps a name from Kubernetes or Omni to a name that TrueNAS allows (letters, digits and the underscore) so that
// different names stay different: a hyphen becomes an underscore, and any other character becomes a Z and its bytes in
// hexadecimal, as does Z itself. A name that is too long keeps its beginning and ends in a hash of the complete name.
func NASName(name string) string {
	escaped := escapedName(name)
	if len(escaped) <= MaxNASName {
		return escaped
	}
	return shortened(escaped, name)
}

// shortened returns the beginning of a name and a hash of the complete name.
func shortened(escaped, whole string) string {
	sum := sha256.Sum256([]byte(whole))
	// A short name never has "Z_": two hexadecimal digits or another Z follow every Z.
	return escaped[:MaxNASName-34] + "Z_" + hex.EncodeToString(sum[:16])
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

// QualifiedName returns the name on the NAS of a VM, a clone or an import in a namespace of Kubernetes, so that equal names in two
// namespaces stay different. [NASName] never returns the separator "ZZ". Without a namespace, the name is [NASName].
func QualifiedName(namespace, name string) string {
	if namespace == "" {
		return NASName(name)
	}
	full := escapedName(namespace) + "ZZ" + escapedName(name)
	if len(full) <= MaxNASName {
		return full
	}
	return shortened(full, namespace+"\x00"+name)
}

// RootDisk is the volume name of a VM's root disk.
const RootDisk = "root"

// diskVolumeName returns the volume name of an additional disk. It differs from the root disk's, and has no suffix of an image
// file. [NASName] never returns a trailing Z, so the names of two disks stay different.
func diskVolumeName(name string) string {
	v := NASName(name)
	if v == RootDisk {
		return v + "Z"
	}
	for _, suffix := range imageSuffixes {
		if strings.HasSuffix(v, suffix) {
			return v + "Z"
		}
	}
	return v
}
