package sim

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// openVHDX opens Hyper-V's images. One region has the sizes, and another the positions of the blocks. After every chunk of blocks
// there is an entry for a bitmap, which only images with a parent use.
func openVHDX(data contents) (*tabled, error) {
	le := binary.LittleEndian
	regions := vhdxTable(data, 0x30000, 16, 32)
	bat, metadata := regions["6677c22d23f600429d64115e9bfd4a08"], regions["06a27c8b90479a4bb8fe575f050f886e"]
	items := vhdxTable(data, metadata, 32, 32)
	if bat == 0 || metadata == 0 {
		return nil, errors.New("the vhdx has no regions")
	}
	number := func(item string) int64 {
		p := make([]byte, 8)
		data.readAt(p, metadata+items[item]&0xffffffff)
		return int64(le.Uint64(p))
	}
	t := &tabled{
		data: data, size: number("2442a52f1bcd7648b2115dbed83bf4b8"),
		block: number("3767a1ca36fa434db3b633f0aa44e76b") & 0xffffffff,
	}
	if t.size <= 0 || t.block < 1<<20 || t.block > 256<<20 {
		return nil, errors.New("the vhdx does not say its sizes")
	}
	chunk := (int64(1) << 23) * (number("1dbf41816fa90947ba47f233a8faab5f") & 0xffffffff) / t.block
	t.load = func(i int64, p []byte) (bool, error) {
		entry := make([]byte, 8)
		data.readAt(entry, bat+8*(i+i/chunk))
		e := le.Uint64(entry)
		if state := e & 7; state != 6 { // not fully present
			return false, nil
		}
		data.readAt(p, int64(e>>20)<<20)
		return true, nil
	}
	return t, nil
}

// vhdxTable reads a table of positions by GUID.
func vhdxTable(data contents, at int64, header, entry int) map[string]int64 {
	p := make([]byte, 64<<10)
	data.readAt(p, at)
	found := map[string]int64{}
	for off := header; off+entry <= len(p); off += entry {
		if e := p[off : off+entry]; !allZero(e[:16]) {
			found[hex.EncodeToString(e[:16])] = int64(binary.LittleEndian.Uint64(e[16:]))
		}
	}
	return found
}
