package disk

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Layout of a sparse extent ("Virtual Disk Format 5.0"), and QEMU's limits for it (block/vmdk.c). Numbers are
// little-endian, positions in sectors.
const (
	vmdkCompressed     = 1 << 16 // flag: grains are compressed
	vmdkMarkers        = 1 << 17 // flag: there are markers between the grains
	vmdkMaxDescriptor  = 1 * mib
	vmdkAtEnd          = math.MaxUint64 // grain directory offset: the footer has it
	vmdkFooterMarker   = 3
	vmdkMaxTable       = 512
	vmdkMaxGrains      = 128 * mib / sectorBytes
	vmdkMaxDirectory   = 32 * mib // entries
	vmdkParentScanEnds = sectorBytes + 20*sectorBytes
)

// vmdkPart refuses an extent without an embedded descriptor.
const vmdkPart = "vmdk has no descriptor: it is one part of a disk in several files; give an archive that holds all of them, or make one file with qemu-img convert -O qcow2"

// vmdkHeader holds the checked fields of a sparse extent's header.
type vmdkHeader struct {
	version, flags    uint32
	capacity          uint64
	grainSectors      uint64
	descriptorAt      uint64
	descriptorSectors uint64
	tableEntries      uint32
	directoryAt       uint64
	compression       uint16
}

// inspectVMDK accepts single sparse extents with an embedded descriptor: monolithicSparse and streamOptimized.
func inspectVMDK(h *head) (shape, error) {
	b, err := h.at(0, sectorBytes)
	if err != nil {
		return shape{}, err
	}
	header := readVMDKHeader(b)
	if err := header.check(); err != nil {
		return shape{}, err
	}
	if err := checkEmbeddedDescriptor(h, header); err != nil {
		return shape{}, err
	}
	s := shape{
		virtual: int64(header.capacity) * sectorBytes,
		least:   int64(header.descriptorAt+header.descriptorSectors) * sectorBytes,
	}
	if header.directoryAt != vmdkAtEnd {
		s.least = max(s.least, int64(header.directoryAt)*sectorBytes+header.directoryBytes())
		return s, nil
	}
	s.end = func(tail []byte, _ int64) (ending, error) { return ending{}, checkVMDKFooter(tail, header) }
	return s, nil
}

// readVMDKHeader decodes the fields.
func readVMDKHeader(b []byte) vmdkHeader {
	le := binary.LittleEndian
	return vmdkHeader{
		version: le.Uint32(b[4:]), flags: le.Uint32(b[8:]),
		capacity: le.Uint64(b[12:]), grainSectors: le.Uint64(b[20:]),
		descriptorAt: le.Uint64(b[28:]), descriptorSectors: le.Uint64(b[36:]),
		tableEntries: le.Uint32(b[44:]), directoryAt: le.Uint64(b[56:]),
		compression: le.Uint16(b[77:]),
	}
}

// check refuses a header that makes a reader open other files or allocate too much memory.
func (v vmdkHeader) check() error {
	switch {
	case v.version < 1 || v.version > 3:
		return refusal(ErrUnsupported, "vmdk version is %d, allowed are 1 to 3", v.version)
	case v.capacity == 0:
		// QEMU then treats the descriptor as a separate one, and opens the files that it names.
		return refusal(ErrHostile, "vmdk capacity is 0, which makes its descriptor name other files")
	case v.capacity > math.MaxInt64/sectorBytes:
		return refusal(ErrTooLarge, "vmdk capacity is %d sectors", v.capacity)
	case v.descriptorAt == 0 || v.descriptorSectors == 0:
		return refusal(ErrUnsupported, vmdkPart)
	case v.descriptorAt > headLimit/sectorBytes || v.descriptorSectors > vmdkMaxDescriptor/sectorBytes:
		return refusal(ErrHostile, "vmdk descriptor has %d sectors at %d, allowed are %d within the first %d",
			v.descriptorSectors, v.descriptorAt, vmdkMaxDescriptor/sectorBytes, headLimit/sectorBytes)
	case v.tableEntries == 0 || v.tableEntries > vmdkMaxTable:
		return refusal(ErrHostile, "vmdk grain tables have %d entries, allowed are 1 to %d", v.tableEntries, vmdkMaxTable)
	case v.grainSectors == 0 || v.grainSectors > vmdkMaxGrains:
		return refusal(ErrHostile, "vmdk grains have %d sectors, allowed are 1 to %d", v.grainSectors, vmdkMaxGrains)
	case v.directoryBytes()/4 > vmdkMaxDirectory:
		return refusal(ErrHostile, "vmdk grain directory has %d entries, the limit is %d", v.directoryBytes()/4, vmdkMaxDirectory)
	case v.directoryAt != vmdkAtEnd && v.directoryAt > math.MaxInt64/(2*sectorBytes):
		return refusal(ErrHostile, "vmdk grain directory is at sector %d", v.directoryAt)
	case v.compression > 1 || (v.compression == 0) != (v.flags&vmdkCompressed == 0):
		return refusal(ErrHostile, "vmdk compression is %d (flags %#x), allowed are none and deflate", v.compression, v.flags)
	}
	return nil
}

// directoryBytes returns the length of the grain directory.
func (v vmdkHeader) directoryBytes() int64 {
	perEntry := uint64(v.tableEntries) * v.grainSectors
	return int64((v.capacity-1)/perEntry+1) * 4
}

// checkVMDKFooter compares the footer of a streamOptimized extent, which QEMU uses instead of the header, with the checked header.
// The file ends in three sectors: a marker, the footer, an end-of-stream marker.
func checkVMDKFooter(tail []byte, header vmdkHeader) error {
	if len(tail) < tailBytes {
		return refusal(ErrCorrupt, "vmdk ends before its footer")
	}
	marker, footer := tail[:sectorBytes], tail[sectorBytes:2*sectorBytes]
	if binary.LittleEndian.Uint32(marker[12:]) != vmdkFooterMarker || !bytes.HasPrefix(footer, []byte("KDMV")) {
		return refusal(ErrCorrupt, "vmdk does not end in the footer that its header announces")
	}
	found := readVMDKHeader(footer)
	if found.directoryAt == vmdkAtEnd {
		return refusal(ErrHostile, "vmdk footer has no offset of the grain directory")
	}
	if found.geometry() != header.geometry() {
		return refusal(ErrHostile, "vmdk footer differs from the header")
	}
	return nil
}

// geometry returns a header without the fields that may differ in a footer: the positions of descriptor and directories.
func (v vmdkHeader) geometry() vmdkHeader {
	v.flags &= vmdkCompressed | vmdkMarkers
	v.descriptorAt, v.descriptorSectors, v.directoryAt = 0, 0, 0
	return v
}

// checkEmbeddedDescriptor reads the descriptor at the offset in the header. Like QEMU, it searches for parents in the first twenty
// sectors after the header too, independent of that offset.
func checkEmbeddedDescriptor(h *head, v vmdkHeader) error {
	text, err := h.at(int64(v.descriptorAt)*sectorBytes, int(v.descriptorSectors)*sectorBytes)
	if err != nil {
		return err
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	if len(bytes.TrimSpace(text)) == 0 {
		return refusal(ErrUnsupported, vmdkPart)
	}
	if err := checkDescriptor(string(text)); err != nil {
		return err
	}
	start, err := h.upTo(vmdkParentScanEnds)
	if err != nil {
		return err
	}
	if bytes.Contains(start, []byte("parentFileNameHint")) {
		return refusal(ErrHostile, "vmdk parentFileNameHint is set, allowed are images without a parent")
	}
	return nil
}
