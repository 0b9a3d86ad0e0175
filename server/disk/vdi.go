package disk

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Layout of a VDI header (block/vdi.c of QEMU, VDICore.h of VirtualBox). Numbers are little-endian.
const (
	vdiHeaderBytes = 0x200
	vdiVersion     = 0x00010001
	vdiDynamic     = 1
	vdiStatic      = 2
	vdiBlockBytes  = 1 * mib
	vdiMaxBlocks   = 0x1fffffff // QEMU's limit, 512 TiB of disk
)

// inspectVDI accepts dynamic and static images without a parent.
func inspectVDI(h *head) (shape, error) {
	b, err := h.at(0, vdiHeaderBytes)
	if err != nil {
		return shape{}, err
	}
	le := binary.LittleEndian
	var (
		version, kind     = le.Uint32(b[0x44:]), le.Uint32(b[0x4c:])
		mapAt, dataAt     = le.Uint32(b[0x154:]), le.Uint32(b[0x158:])
		sector, blockSize = le.Uint32(b[0x168:]), le.Uint32(b[0x178:])
		size              = le.Uint64(b[0x170:])
		blocks, allocated = le.Uint32(b[0x180:]), le.Uint32(b[0x184:])
	)
	switch {
	case version != vdiVersion:
		return shape{}, refusal(ErrUnsupported, "vdi version is %d.%d, allowed is 1.1", version>>16, version&0xffff)
	case kind != vdiDynamic && kind != vdiStatic:
		return shape{}, refusal(ErrHostile, "vdi image type is %d (undo or differencing), allowed are dynamic (1) and static (2)", kind)
	case !allZero(b[0x1a8:0x1c8]):
		return shape{}, refusal(ErrHostile, "vdi links to a parent, allowed are images without")
	case sector != sectorBytes || blockSize != vdiBlockBytes:
		return shape{}, refusal(ErrUnsupported, "vdi has sectors of %d and blocks of %d bytes, allowed are %d and %d", sector, blockSize, sectorBytes, vdiBlockBytes)
	case blocks > vdiMaxBlocks || allocated > blocks:
		return shape{}, refusal(ErrHostile, "vdi has %d of %d blocks, the limit is %d", allocated, blocks, vdiMaxBlocks)
	case size > math.MaxInt64 || size > uint64(blocks)*vdiBlockBytes:
		return shape{}, refusal(ErrHostile, "virtual size is %d bytes, the vdi's %d blocks hold %d", size, blocks, uint64(blocks)*vdiBlockBytes)
	case mapAt < vdiHeaderBytes || mapAt%sectorBytes != 0 || dataAt%sectorBytes != 0:
		return shape{}, refusal(ErrHostile, "vdi block map is at %d and data at %d, allowed are whole sectors after the header", mapAt, dataAt)
	case uint64(dataAt) < uint64(mapAt)+uint64(blocks)*4:
		return shape{}, refusal(ErrHostile, "vdi data at %d overlaps the block map at %d with %d entries", dataAt, mapAt, blocks)
	}
	return shape{virtual: int64(size), least: int64(dataAt) + int64(allocated)*vdiBlockBytes}, nil
}

// allZero reports whether b holds only zeros.
func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// zeros is compared with complete blocks, which is many times faster than single bytes.
var zeros [pieceBytes]byte
