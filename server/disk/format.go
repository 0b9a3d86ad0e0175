package disk

import (
	"bytes"
	"slices"
	"strings"
)

// Format is the shape of a disk image.
type Format string

// The formats that are handled. ISO is an image that can be read as a CD-ROM; its bytes are as raw as Raw's.
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

// ParseFormat reads the names that people and tools use. The empty name is the empty format: anything.
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

// Suffix is what a file of this format has to be called for TrueNAS to take it for a source of a conversion.
func (f Format) Suffix() string {
	switch f {
	case QCOW2, VMDK, VDI, VHDX:
		return "." + string(f)
	}
	return ".raw"
}

// plain reports whether the file's bytes are the disk's.
func (f Format) plain() bool { return f == Raw || f == ISO || f == VHD }

// signatures are what formats begin with. Whatever qemu-img would take a file for is here (block/*.c, functions named
// *_probe), handled or not: content that probes as something is never passed on as raw. Then there is what people
// take for disk images by mistake.
var signatures = []struct {
	at    int
	magic string
	name  string
}{
	{0, "QFI\xfb\x00\x00\x00\x01", "qcow"},
	{0, "QFI\xfb", string(QCOW2)},
	{0, "QED\x00", "qed"},
	{0, "KDMV", string(VMDK)},
	{0, "COWD", "vmdk of version 3"},
	{0x40, "\x7f\x10\xda\xbe", string(VDI)},
	{0, "vhdxfile", string(VHDX)},
	{0, "conectix", dynamicVHD},
	{0, "LUKS\xba\xbe", "luks"},
	{0, "WithoutFreeSpace", "parallels"},
	{0, "WithouFreSpacExt", "parallels"},
	{0, "Bochs Virtual HD Image", "bochs"},
	{0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop"},
	{0, "shdw", "asif"},

	{0x8001, "CD001", string(ISO)},

	{0, "\x1f\x8b\x08", "doubly compressed"},
	{0, "\xfd7zXZ\x00", "doubly compressed"},
	{0, "\x28\xb5\x2f\xfd", "doubly compressed"},
	{0, "BZh", "doubly compressed"},
	{0, "\x04\x22\x4d\x18", "lz4"},
	{0, "PK\x03\x04", "zip"},
	{0, "7z\xbc\xaf\x27\x1c", "7z"},
	{257, "ustar", "tar or ova"},
	{0, "\x7fELF", "elf"},
	{0, "<!DOCTYPE", "web page"},
	{0, "<!doctype", "web page"},
	{0, "<html", "web page"},
	{0, "<?xml", "xml"},
}

// probeBytes is as far as a signature reaches.
const probeBytes = 0x8001 + 5

// probe names what the content begins like; raw when like nothing in particular.
func probe(h *head) (string, error) {
	start, err := h.upTo(probeBytes)
	if err != nil {
		return "", err
	}
	for _, s := range signatures {
		if len(start) >= s.at && bytes.HasPrefix(start[s.at:], []byte(s.magic)) {
			return s.name, nil
		}
	}
	if isDescriptor(start) {
		return vmdkDescriptor, nil
	}
	return string(Raw), nil
}

// recognise decides the format by the content, and holds it against what was announced.
func recognise(h *head, announced Format) (Format, error) {
	name, err := probe(h)
	if err != nil {
		return "", err
	}
	found := Format(name)
	switch {
	case announced == Raw && found != Raw && found != ISO:
		return "", refusal(ErrHostile, "format is announced as raw, and the content is %s", name)
	case name == vmdkDescriptor:
		return "", refusal(ErrHostile, "vmdk is a descriptor that names other files, allowed are monolithicSparse and streamOptimized")
	case name == dynamicVHD:
		return "", refuseDynamicVHD(h)
	case !slices.Contains(formats, found):
		return "", refusal(ErrUnsupported, "content is %s, allowed are %s", name, formats)
	case announced == VHD && found == Raw:
		return VHD, nil // only its end tells
	case announced == Raw || announced == "" || announced == found:
		return found, nil
	}
	return "", refusal(ErrFormat, "content is %s, announced was %s", found, announced)
}
