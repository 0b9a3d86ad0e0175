package disk

import (
	"bytes"
	"encoding/binary"
)

// dynamicVHD is the format of content that begins with a VHD footer: a fixed VHD has its only footer at the end.
const dynamicVHD = "dynamic vhd"

// Disk types of a VHD footer ("Virtual Hard Disk Image Format Specification", 1.0).
const (
	vhdFixed        = 2
	vhdDynamic      = 3
	vhdDifferencing = 4
)

// plainEnding recognizes files that end in a footer: a fixed VHD, which is otherwise a raw disk, and a dmg.
func plainEnding(format, announced Format) func([]byte, int64) (ending, error) {
	return func(tail []byte, length int64) (ending, error) {
		footer := tail[max(0, len(tail)-sectorBytes):]
		switch {
		case bytes.HasPrefix(footer, []byte("koly")):
			return ending{}, refusal(ErrUnsupported, "content is dmg, allowed are %s", formats)
		case !bytes.HasPrefix(footer, []byte("conectix")) && announced == VHD:
			return ending{}, refusal(ErrFormat, "announced was vhd, but the content has no vhd footer")
		case !bytes.HasPrefix(footer, []byte("conectix")):
			return ending{format: format}, nil
		case announced == Raw || announced == ISO:
			return ending{}, refusal(ErrFormat, "announced was %s, and the content ends in a vhd footer: give vhd as the format, or none", announced)
		}
		return ending{format: VHD, drop: sectorBytes}, checkFixedVHD(footer, length)
	}
}

// checkFixedVHD checks the footer against the file.
func checkFixedVHD(footer []byte, length int64) error {
	kind := binary.BigEndian.Uint32(footer[60:])
	size := binary.BigEndian.Uint64(footer[48:])
	sum := binary.BigEndian.Uint32(footer[64:])
	switch {
	case kind == vhdDifferencing:
		return refusal(ErrHostile, "vhd disk type is differencing (it refers to a parent), allowed are fixed and dynamic")
	case sum != vhdChecksum(footer):
		return refusal(ErrCorrupt, "vhd footer has checksum %#x, expected %#x", sum, vhdChecksum(footer))
	case kind != vhdFixed:
		return refusal(ErrCorrupt, "vhd disk type is %d at the end of a fixed disk, expected %d", kind, vhdFixed)
	case size != uint64(length-sectorBytes):
		return refusal(ErrLength, "vhd footer announces %d bytes, there are %d", size, length-sectorBytes)
	}
	return nil
}

// vhdChecksum returns the complement of the sum of the footer's bytes, except for those of the checksum.
func vhdChecksum(footer []byte) uint32 {
	var sum uint32
	for i, b := range footer {
		if i < 64 || i >= 68 {
			sum += uint32(b)
		}
	}
	return ^sum
}
