package disk

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Layout of partition tables: the MBR (UEFI specification 2.10, section 5.2) and the GPT (section 5.3).
const (
	mbrEntries      = 446
	mbrEntryBytes   = 16
	mbrSignatureAt  = 510
	mbrProtective   = 0xee // the complete disk, whatever size it states
	gptSignature    = "EFI PART"
	gptHeaderLeast  = 92
	isoPrimary      = 0x8000
	isoPrimaryBytes = 88
)

// extentOf is the length of a plain image according to its content.
type extentOf struct {
	by    string // the source of least, for messages; empty: none
	least int64  // the minimum size of the disk
	// complete means that a file of least bytes is complete: the source of least marks the end of the disk.
	complete bool
}

// measured determines the length of a plain image from its first bytes: from its GPT, from its MBR, or from the volume descriptor
// of a CD-ROM.
func measured(start []byte, format Format) extentOf {
	if format == ISO {
		return isoExtent(start)
	}
	for _, sector := range []int{sectorBytes, 4 * kib} {
		if e := gptExtent(start, sector); e.by != "" {
			return e
		}
	}
	return mbrExtent(start)
}

// gptExtent reads the header in the disk's second sector. The copy of the table is at the end of the disk, and only it proves that
// a disk is complete.
func gptExtent(start []byte, sector int) extentOf {
	if len(start) < sector+gptHeaderLeast || string(start[sector:sector+8]) != gptSignature {
		return extentOf{}
	}
	header := start[sector:]
	le := binary.LittleEndian
	self, copyAt, lastUsable := le.Uint64(header[24:]), le.Uint64(header[32:]), le.Uint64(header[48:])
	last := max(copyAt, lastUsable)
	if self != 1 || last >= math.MaxInt64/uint64(sector) {
		return extentOf{}
	}
	return extentOf{by: "partition table (GPT)", least: int64(last+1) * int64(sector), complete: copyAt > lastUsable}
}

// mbrExtent reads the four entries of an MBR. The first sector of a file system has the same signature and code in place of the
// table, so the entries have to be consistent.
func mbrExtent(start []byte) extentOf {
	if len(start) < sectorBytes || start[mbrSignatureAt] != 0x55 || start[mbrSignatureAt+1] != 0xaa || isFAT(start) {
		return extentOf{}
	}
	end := uint64(0)
	for i := range 4 {
		entry := start[mbrEntries+i*mbrEntryBytes:][:mbrEntryBytes]
		first, sectors := binary.LittleEndian.Uint32(entry[8:]), binary.LittleEndian.Uint32(entry[12:])
		switch kind := entry[4]; {
		case entry[0]&0x7f != 0:
			return extentOf{}
		case kind == 0 || kind == mbrProtective || sectors == 0:
			continue
		case first == 0:
			return extentOf{} // the partition covers the table itself, as in hybrid CD-ROMs
		}
		end = max(end, uint64(first)+uint64(sectors))
	}
	if end == 0 {
		return extentOf{}
	}
	return extentOf{by: "partition table (MBR)", least: int64(end) * sectorBytes, complete: true}
}

// isFAT recognizes the boot sector of a FAT or NTFS file system, which has no table.
func isFAT(start []byte) bool {
	return bytes.HasPrefix(start[54:], []byte("FAT")) || bytes.HasPrefix(start[82:], []byte("FAT")) || bytes.HasPrefix(start[3:], []byte("NTFS"))
}

// isoExtent reads the size of the volume from its first descriptor (ECMA-119, 8.4).
func isoExtent(start []byte) extentOf {
	if len(start) < isoPrimary+6 {
		return extentOf{}
	}
	descriptor := start[isoPrimary:]
	if len(descriptor) < isoPrimaryBytes+44 || descriptor[0] != 1 {
		return extentOf{}
	}
	blocks, size := binary.LittleEndian.Uint32(descriptor[80:]), binary.LittleEndian.Uint16(descriptor[128:])
	if blocks == 0 || size < sectorBytes {
		return extentOf{}
	}
	return extentOf{by: "volume descriptor (ISO 9660)", least: int64(blocks) * int64(size), complete: true}
}
