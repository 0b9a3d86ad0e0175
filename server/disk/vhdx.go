package disk

import (
	"encoding/binary"
	"hash/crc32"
	"math"
)

// Layout of a VHDX ([MS-VHDX]). Numbers are little-endian, positions in bytes.
const (
	vhdxHeaderBytes     = 4 * kib
	vhdxTableBytes      = 64 * kib
	vhdxMaxEntries      = 2047
	vhdxHasParent       = 1 << 1
	vhdxMetadataIsUser  = 1 << 0
	vhdxMetadataEntries = 32
)

var (
	vhdxHeadersAt = [2]int64{64 * kib, 128 * kib}
	vhdxTablesAt  = [2]int64{192 * kib, 256 * kib}
)

// guid is a GUID in the form of the file: the first three groups little-endian.
type guid [16]byte

var (
	vhdxBAT            = guid{0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}
	vhdxMetadata       = guid{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}
	vhdxFileParameters = guid{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b}
	vhdxVirtualSize    = guid{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8}
	vhdxParentLocator  = guid{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c}
)

// extent is a range of the file.
type extent struct{ at, size uint64 }

// inspectVHDX accepts images without a parent that were closed properly.
func inspectVHDX(h *head) (shape, error) {
	if err := checkVHDXLog(h); err != nil {
		return shape{}, err
	}
	regions, err := vhdxRegions(h)
	if err != nil {
		return shape{}, err
	}
	least := uint64(0)
	for name, want := range map[string]guid{"block allocation table": vhdxBAT, "metadata": vhdxMetadata} {
		region, ok := regions[want]
		if !ok {
			return shape{}, refusal(ErrCorrupt, "vhdx has no %s region", name)
		}
		least = max(least, region.at+region.size)
	}
	size, err := vhdxDiskSize(h, regions[vhdxMetadata])
	return shape{virtual: size, least: int64(least)}, err
}

// checkVHDXLog refuses a VHDX with pending changes in its log, which a reader cannot apply.
func checkVHDXLog(h *head) error {
	var current []byte // the valid header with the higher sequence number
	for _, at := range vhdxHeadersAt {
		b, err := h.at(at, vhdxHeaderBytes)
		if err != nil {
			return err
		}
		if string(b[:4]) != "head" || !vhdxChecksumFits(b) {
			continue
		}
		if current == nil || binary.LittleEndian.Uint64(b[8:]) > binary.LittleEndian.Uint64(current[8:]) {
			current = b
		}
	}
	switch {
	case current == nil:
		return refusal(ErrCorrupt, "vhdx has no valid header")
	case !allZero(current[48:64]):
		return refusal(ErrUnsupported, "vhdx log holds unfinished changes: close it properly first")
	}
	return nil
}

// vhdxRegions reads the region table. The second one is a copy: readers differ in the one that they use, so both have to be equal.
func vhdxRegions(h *head) (map[guid]extent, error) {
	first, err := h.at(vhdxTablesAt[0], vhdxTableBytes)
	if err != nil {
		return nil, err
	}
	second, err := h.at(vhdxTablesAt[1], vhdxTableBytes)
	if err != nil {
		return nil, err
	}
	if string(first) != string(second) || string(first[:4]) != "regi" || !vhdxChecksumFits(first) {
		return nil, refusal(ErrCorrupt, "vhdx region tables are damaged or differ")
	}
	count := binary.LittleEndian.Uint32(first[8:])
	if count > vhdxMaxEntries {
		return nil, refusal(ErrHostile, "vhdx region table has %d entries, the limit is %d", count, vhdxMaxEntries)
	}
	regions := map[guid]extent{}
	for i := range count {
		entry := first[16+32*i:][:32]
		region := extent{binary.LittleEndian.Uint64(entry[16:]), uint64(binary.LittleEndian.Uint32(entry[24:]))}
		id := guid(entry[:16])
		if _, twice := regions[id]; twice {
			return nil, refusal(ErrHostile, "vhdx region table names a region twice")
		}
		if region.at < 1*mib || region.at%mib != 0 || region.size%mib != 0 || region.at > math.MaxInt64/2 {
			return nil, refusal(ErrHostile, "vhdx region has %d bytes at %d, allowed are whole MiB from the first on", region.size, region.at)
		}
		regions[id] = region
	}
	return regions, nil
}

// vhdxDiskSize reads the metadata: the size of the disk, and whether it has a parent.
func vhdxDiskSize(h *head, metadata extent) (int64, error) {
	table, err := h.at(int64(metadata.at), vhdxTableBytes)
	if err != nil {
		return 0, err
	}
	if string(table[:8]) != "metadata" {
		return 0, refusal(ErrCorrupt, "vhdx metadata table is damaged")
	}
	items, err := vhdxItems(table, metadata)
	if err != nil {
		return 0, err
	}
	if _, ok := items[vhdxParentLocator]; ok {
		return 0, refusal(ErrHostile, "vhdx names a parent, allowed are images without")
	}
	parameters, err := vhdxItem(h, items, vhdxFileParameters, "file parameters")
	if err != nil {
		return 0, err
	}
	if binary.LittleEndian.Uint32(parameters[4:])&vhdxHasParent != 0 {
		return 0, refusal(ErrHostile, "vhdx has a parent, allowed are images without")
	}
	size, err := vhdxItem(h, items, vhdxVirtualSize, "virtual disk size")
	if err != nil {
		return 0, err
	}
	bytes := binary.LittleEndian.Uint64(size)
	if bytes > math.MaxInt64 {
		return 0, refusal(ErrTooLarge, "virtual size is %d bytes", bytes)
	}
	return int64(bytes), nil
}

// vhdxItems lists the metadata items with their position in the file. It ignores items of users.
func vhdxItems(table []byte, metadata extent) (map[guid]extent, error) {
	le := binary.LittleEndian
	count := le.Uint16(table[10:])
	if count > vhdxMaxEntries-1 {
		return nil, refusal(ErrHostile, "vhdx metadata table has %d entries, the limit is %d", count, vhdxMaxEntries-1)
	}
	items := map[guid]extent{}
	for i := range int(count) {
		entry := table[32+vhdxMetadataEntries*i:][:vhdxMetadataEntries]
		id, flags := guid(entry[:16]), le.Uint32(entry[24:])
		if flags&vhdxMetadataIsUser != 0 {
			continue
		}
		if _, twice := items[id]; twice {
			return nil, refusal(ErrHostile, "vhdx metadata table names an item twice")
		}
		items[id] = extent{metadata.at + uint64(le.Uint32(entry[16:])), uint64(le.Uint32(entry[20:]))}
	}
	return items, nil
}

// vhdxItem reads a metadata item of eight bytes.
func vhdxItem(h *head, items map[guid]extent, id guid, name string) ([]byte, error) {
	item, ok := items[id]
	if !ok || item.size != 8 {
		return nil, refusal(ErrCorrupt, "vhdx metadata item %s is missing or of the wrong size", name)
	}
	return h.at(int64(item.at), int(item.size))
}

// vhdxChecksumFits verifies the checksum at byte 4.
func vhdxChecksumFits(b []byte) bool {
	return vhdxChecksum(b) == binary.LittleEndian.Uint32(b[4:])
}

// vhdxChecksum returns the CRC-32C of a structure, in which the checksum itself counts as zero.
func vhdxChecksum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:4])
	sum = crc32.Update(sum, table, make([]byte, 4))
	return crc32.Update(sum, table, b[8:])
}
