package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// tabled is an image that consists of blocks of one size, which a table locates in the file.
type tabled struct {
	data  contents
	size  int64 // of the disk, in bytes
	block int64 // bytes
	// load fills p with a block from the file, and returns false where the disk is zero.
	load func(i int64, p []byte) (bool, error)
}

// openTabled opens formats that qcow2reader detects but cannot read.
func openTabled(data contents, size int64) (*tabled, error) {
	start := make([]byte, 4096)
	data.readAt(start, 0)
	var t *tabled
	var err error
	switch {
	case string(start[:4]) == "KDMV":
		t, err = openVMDK(data, size, start)
	case binary.LittleEndian.Uint32(start[0x40:]) == 0xbeda107f:
		t = openVDI(data, start)
	case string(start[:8]) == "vhdxfile":
		t, err = openVHDX(data)
	}
	if err == nil && t != nil && (t.block <= 0 || t.block%sector != 0 || t.block > maxTabledBlock || t.size < 0) {
		err = fmt.Errorf("the image has %d bytes in blocks of %d", t.size, t.block)
	}
	return t, err
}

// maxTabledBlock is the largest block size of these formats, that of vhdx.
const maxTabledBlock = 256 << 20

// read copies the disk out of the image, on all cores. It makes more parts than cores, because data and zeros are not spread
// evenly.
func (t *tabled) read(c *call) (contents, error) {
	const (
		whole     = blockSize / sector // blocks of any size that fill blocks of contents
		mostParts = 64
	)
	blocks := ceil(t.size, t.block)
	share := ceil(blocks, whole*mostParts) * whole
	type part struct {
		contents
		err error
	}
	parts := make([]part, ceil(blocks, max(share, 1)))
	var next atomic.Int64
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(parts)); n = next.Add(1) - 1 {
				from := n * share
				parts[n].contents, parts[n].err = t.readPart(c, from, min(from+share, blocks))
			}
		})
	}
	running.Wait()
	var out contents
	for _, p := range parts {
		if p.err != nil {
			return contents{}, p.err
		}
		p.above(nil, func(i int64, b *block) { out.put(i, b.data) })
	}
	return out, nil
}

// readPart copies a range of blocks out of the image.
func (t *tabled) readPart(c *call, from, to int64) (contents, error) {
	var out contents
	var p []byte
	for i := from; i < to; i++ {
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

// openVDI opens VirtualBox's images, with a table of 32-bit block numbers.
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

// reader reads n bytes of the file from an offset on.
func (t *tabled) reader(off, n int64) io.Reader {
	return io.NewSectionReader(frozenReader{t.data}, off, n)
}
