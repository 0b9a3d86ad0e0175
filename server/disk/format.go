package disk

import (
	"slices"
	"strings"
)

// Format is the shape of a disk image.
type Format string

// The supported formats. ISO is an image that a CD-ROM drive can read; its bytes are raw, like those of Raw.
const (
	Raw   Format = "raw"
	ISO   Format = "iso"
	QCOW2 Format = "qcow2"
	VMDK  Format = "vmdk"
	VDI   Format = "vdi"
	VHDX  Format = "vhdx"
	VHD   Format = "vhd"
)

var formats = []Format{Raw, ISO, QCOW2, VMDK, VDI, VHDX, VHD}

// ParseFormat parses the names that users and tools use. The empty name is the empty format, which means any.
func ParseFormat(name string) (Format, error) {
	f := Format(strings.ToLower(strings.TrimSpace(name)))
	switch f {
	case "iso9660":
		return ISO, nil
	case "vpc":
		return VHD, nil
	case "img":
		return Raw, nil
	}
	if f != "" && !slices.Contains(formats, f) {
		return "", refusal(ErrInvalid, "format is %q, allowed are %s", name, formats)
	}
	return f, nil
}

// Suffix is the file name suffix that TrueNAS requires for a source of a conversion in this format.
func (f Format) Suffix() string {
	switch f {
	case QCOW2, VMDK, VDI, VHDX:
		return "." + string(f)
	}
	return ".raw"
}

// plain reports whether the file's bytes are those of the disk.
func (f Format) plain() bool { return f == Raw || f == ISO || f == VHD }

// recognise detects the format from the content, and compares it with the announced one. A dynamic VHD is distinguished
// from a fixed one, as [dynamicVHD].
func recognise(h *head, announced Format) (Format, error) {
	is, err := probe(h)
	if err != nil {
		return "", err
	}
	found := Format(is.name)
	switch {
	case is.name == vmdkDescriptor:
		return "", refusal(ErrHostile, "vmdk is a descriptor that names other files, allowed are monolithicSparse and streamOptimized")
	case is.name == dynamicVHD && (announced == "" || announced == VHD):
		return found, nil
	case is.name == dynamicVHD:
		return "", refusal(ErrFormat, "content is a dynamic vhd, announced was %s: give vhd as the format, or none", announced)
	case !slices.Contains(formats, found):
		return "", notADisk(is)
	case announced == VHD && found == Raw:
		return VHD, nil // only its end distinguishes it
	case announced == "" || announced == found || announced == Raw && found == ISO:
		return found, nil
	}
	return "", refusal(ErrFormat, "content is %s, announced was %s: give %s as the format, or none", found, announced, found)
}
