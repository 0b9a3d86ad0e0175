package disk

import (
	"encoding/binary"
	"math"
)

// Limits of qcow2, as in QEMU (block/qcow2.h, docs/interop/qcow2.txt).
const (
	qcow2MaxL1Bytes        = 32 * mib
	qcow2MaxRefTableBytes  = 8 * mib
	qcow2MaxSnapshots      = 65536
	qcow2SnapshotLeast     = 40 // bytes of a snapshot table entry without its variable part
	qcow2ExternalData      = 1 << 2
	qcow2Corrupt           = 1 << 1
	qcow2CompressionType   = 1 << 3
	qcow2ExtendedL2        = 1 << 4
	qcow2KnownIncompatible = 1<<5 - 1

	qcow2ExtensionEnd      = 0
	qcow2ExtensionDataFile = 0x44415441
	qcow2ExtensionBacking  = 0xe2792aca
)

// qcow2Header holds the checked fields of the header; offsets are into the file.
type qcow2Header struct {
	version                    uint32
	backingOffset              uint64
	backingSize                uint32
	clusterBits                uint32
	size                       uint64
	crypt                      uint32
	l1Entries                  uint32
	l1Offset                   uint64
	refTableOffset             uint64
	refTableClusters           uint32
	snapshots                  uint32
	snapshotsOffset            uint64
	incompatible               uint64
	refcountOrder, headerBytes uint32
	compression                byte
}

// inspectQCOW2 accepts complete images of version 2 and 3 without references to other files.
func inspectQCOW2(h *head) (shape, error) {
	q, err := readQCOW2(h)
	if err != nil {
		return shape{}, err
	}
	for _, check := range []func(qcow2Header) error{
		qcow2Header.checkSelfContained, qcow2Header.checkFeatures, qcow2Header.checkGeometry, qcow2Header.checkTables,
	} {
		if err := check(q); err != nil {
			return shape{}, err
		}
	}
	if err := checkQCOW2Extensions(h, q); err != nil {
		return shape{}, err
	}
	return shape{virtual: int64(min(q.size, math.MaxInt64)), least: q.least()}, nil
}

// readQCOW2 decodes the fields, all of them big-endian.
func readQCOW2(h *head) (qcow2Header, error) {
	b, err := h.at(0, 72)
	if err != nil {
		return qcow2Header{}, err
	}
	be := binary.BigEndian
	q := qcow2Header{
		version:       be.Uint32(b[4:]),
		backingOffset: be.Uint64(b[8:]), backingSize: be.Uint32(b[16:]),
		clusterBits: be.Uint32(b[20:]), size: be.Uint64(b[24:]), crypt: be.Uint32(b[32:]),
		l1Entries: be.Uint32(b[36:]), l1Offset: be.Uint64(b[40:]),
		refTableOffset: be.Uint64(b[48:]), refTableClusters: be.Uint32(b[56:]),
		snapshots: be.Uint32(b[60:]), snapshotsOffset: be.Uint64(b[64:]),
		refcountOrder: 4, headerBytes: 72,
	}
	switch q.version {
	case 2:
		return q, nil
	case 3:
	default:
		return q, refusal(ErrUnsupported, "qcow2 version is %d, allowed are 2 and 3", q.version)
	}
	if b, err = h.at(0, 104); err != nil {
		return q, err
	}
	q.incompatible, q.refcountOrder, q.headerBytes = be.Uint64(b[72:]), be.Uint32(b[96:]), be.Uint32(b[100:])
	if q.headerBytes > 104 {
		if b, err = h.at(104, 1); err != nil {
			return q, err
		}
		q.compression = b[0]
	}
	return q, nil
}

// checkSelfContained refuses an image that makes QEMU open another file.
func (q qcow2Header) checkSelfContained() error {
	switch {
	case q.backingOffset != 0 || q.backingSize != 0:
		return refusal(ErrHostile, "qcow2 names a backing file, allowed are images without")
	case q.incompatible&qcow2ExternalData != 0:
		return refusal(ErrHostile, "qcow2 keeps its data in an external data file, allowed are images without")
	}
	return nil
}

// checkFeatures refuses features that the NAS cannot read.
func (q qcow2Header) checkFeatures() error {
	switch unknown := q.incompatible &^ qcow2KnownIncompatible; {
	case unknown != 0:
		return refusal(ErrHostile, "qcow2 has unknown incompatible features %#x", unknown)
	case q.incompatible&qcow2Corrupt != 0:
		return refusal(ErrCorrupt, "qcow2 is marked corrupt by the program that wrote it")
	case q.crypt != 0:
		return refusal(ErrUnsupported, "qcow2 encryption method is %d, allowed are unencrypted images", q.crypt)
	case q.compression > 1 || (q.compression != 0) != (q.incompatible&qcow2CompressionType != 0):
		return refusal(ErrHostile, "qcow2 compression type is %d (feature bit %t), allowed are zlib (0) and zstd (1)",
			q.compression, q.incompatible&qcow2CompressionType != 0)
	}
	return nil
}

// checkGeometry refuses impossible sizes, and sizes that make a reader allocate too much memory.
func (q qcow2Header) checkGeometry() error {
	if q.clusterBits < 9 || q.clusterBits > 21 {
		return refusal(ErrHostile, "qcow2 cluster bits are %d, allowed are 9 to 21", q.clusterBits)
	}
	switch {
	case q.incompatible&qcow2ExtendedL2 != 0 && q.clusterBits < 14:
		return refusal(ErrHostile, "qcow2 cluster bits are %d with extended L2 entries, allowed are 14 to 21", q.clusterBits)
	case q.refcountOrder > 6:
		return refusal(ErrHostile, "qcow2 refcount order is %d, allowed are 0 to 6", q.refcountOrder)
	case q.version == 3 && q.headerBytes < 104, uint64(q.headerBytes) > q.cluster(), q.headerBytes%8 != 0:
		return refusal(ErrHostile, "qcow2 header length is %d, allowed are 104 to one cluster (%d)", q.headerBytes, q.cluster())
	case q.size > math.MaxInt64:
		return refusal(ErrTooLarge, "virtual size is %d bytes", q.size)
	}
	return nil
}

// checkTables refuses tables that are too large, too small for the disk, or out of place.
func (q qcow2Header) checkTables() error {
	l1Bytes, refBytes := uint64(q.l1Entries)*8, uint64(q.refTableClusters)<<q.clusterBits
	switch {
	case l1Bytes > qcow2MaxL1Bytes:
		return refusal(ErrHostile, "qcow2 L1 table has %d bytes, the limit is %d", l1Bytes, qcow2MaxL1Bytes)
	case uint64(q.l1Entries) < q.l1Needed():
		return refusal(ErrHostile, "qcow2 L1 table has %d entries, its virtual size needs %d", q.l1Entries, q.l1Needed())
	case refBytes > qcow2MaxRefTableBytes || refBytes == 0:
		return refusal(ErrHostile, "qcow2 refcount table has %d bytes, allowed are one cluster to %d", refBytes, qcow2MaxRefTableBytes)
	case q.snapshots > qcow2MaxSnapshots:
		return refusal(ErrHostile, "qcow2 has %d snapshots, the limit is %d", q.snapshots, qcow2MaxSnapshots)
	}
	for _, table := range []struct {
		name   string
		offset uint64
		used   bool
	}{
		{"L1 table", q.l1Offset, q.l1Entries > 0},
		{"refcount table", q.refTableOffset, true},
		{"snapshot table", q.snapshotsOffset, q.snapshots > 0},
	} {
		if table.used && (table.offset < q.cluster() || table.offset%q.cluster() != 0 || table.offset > 1<<56) {
			return refusal(ErrHostile, "qcow2 %s is at %d, which is not a cluster of its own", table.name, table.offset)
		}
	}
	return nil
}

// cluster returns the size of a cluster in bytes.
func (q qcow2Header) cluster() uint64 { return 1 << q.clusterBits }

// l1Needed returns the number of L1 entries for the virtual size.
func (q qcow2Header) l1Needed() uint64 {
	entryBits := uint32(3)
	if q.incompatible&qcow2ExtendedL2 != 0 {
		entryBits = 4
	}
	shift := q.clusterBits + q.clusterBits - entryBits // bytes that one L2 table maps, as a power of two
	return q.size>>shift + min(1, q.size&(1<<shift-1))
}

// least returns the end of the last table.
func (q qcow2Header) least() int64 {
	least := q.refTableOffset + uint64(q.refTableClusters)<<q.clusterBits
	if q.l1Entries > 0 {
		least = max(least, q.l1Offset+uint64(q.l1Entries)*8)
	}
	if q.snapshots > 0 {
		least = max(least, q.snapshotsOffset+uint64(q.snapshots)*qcow2SnapshotLeast)
	}
	return int64(least)
}

// checkQCOW2Extensions walks the header extensions, which fill the rest of the first cluster at most, and refuses
// those that name other files.
func checkQCOW2Extensions(h *head, q qcow2Header) error {
	for at := int64(q.headerBytes); at+8 <= int64(q.cluster()); {
		b, err := h.at(at, 8)
		if err != nil {
			return err
		}
		kind, length := binary.BigEndian.Uint32(b), int64(binary.BigEndian.Uint32(b[4:]))
		switch kind {
		case qcow2ExtensionEnd:
			return nil
		case qcow2ExtensionDataFile:
			return refusal(ErrHostile, "qcow2 has a header extension that names an external data file")
		case qcow2ExtensionBacking:
			return refusal(ErrHostile, "qcow2 has a header extension that names a backing format")
		}
		at += 8 + (length+7)/8*8
		if at > int64(q.cluster()) {
			return refusal(ErrHostile, "qcow2 header extension %#x has %d bytes and leaves the first cluster", kind, length)
		}
	}
	return nil
}
