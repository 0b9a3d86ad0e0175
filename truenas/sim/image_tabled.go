package sim

import (
	"encoding/binary"
	"io"
)

// tabled is an image whose disk is cut into blocks of one size, which a table
// finds in the file.
type tabled struct {
	data  contents
	size  int64 // of the disk, in bytes
	block int64 // bytes
	// load fills a block from the file; false where the disk is zero.
	load func(i int64, p []byte) (bool, error)
}

// openTabled recognises what qcow2reader only knows by name.
func openTabled(data contents, size int64) (*tabled, error) {
	start := make([]byte, 4096)
	data.readAt(start, 0)
	switch {
	case string(start[:4]) == "KDMV":
		return openVMDK(data, size, start)
	case binary.LittleEndian.Uint32(start[0x40:]) == 0xbeda107f:
		return openVDI(data, start), nil
	case string(start[:8]) == "vhdxfile":
		return openVHDX(data)
	}
	return nil, nil
}

// read takes everything out of the image.
func (t *tabled) read(c *call) (contents, error) {
	var out contents
	var p []byte
	for i := int64(0); i*t.block < t.size; i++ {
		if err := c.job.ctx.Err(); err != nil {
			return contents{}, err
		}
		if p == nil {
			p = make([]byte, t.block)
		}
		held, err := t.load(i, p)
		if err != nil {
			return contents{}, fail(eFAULT, "Failed to convert: qemu-img: error while reading at byte %d: %v", i*t.block, err)
		}
		if held && out.adopt(p[:min(t.block, t.size-i*t.block)], i*t.block) {
			p = nil
		}
	}
	return out, nil
}

// openVDI reads VirtualBox's images: a table of 32-bit block numbers.
func openVDI(data contents, start []byte) *tabled {
	le := binary.LittleEndian
	table, first := int64(le.Uint32(start[0x154:])), int64(le.Uint32(start[0x158:]))
	t := &tabled{data: data, size: int64(le.Uint64(start[0x170:])), block: int64(le.Uint32(start[0x178:]))}
	t.load = func(i int64, p []byte) (bool, error) {
		var entry [4]byte
		data.readAt(entry[:], table+4*i)
		n := le.Uint32(entry[:])
		if n >= 0xfffffffe { // never written, or zero
			return false, nil
		}
		data.readAt(p, first+int64(n)*t.block)
		return true, nil
	}
	return t
}

// reader reads what is in a file from an offset on.
func (t *tabled) reader(off, n int64) io.Reader {
	return io.NewSectionReader(frozenReader{t.data}, off, n)
}
