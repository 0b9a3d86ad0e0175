package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"sort"
)

// blockSize is the unit in bytes of storage, sharing and accounting. It is the default volblocksize.
const blockSize = 16 << 10

// block is blockSize bytes that are not all zero. Zeros are never stored, as with ZFS's compression.
type block struct {
	data []byte
	sum  []byte // nil until first used
}

// layer holds the writes between two snapshots. It never changes, so any number of snapshots and clones can share it.
type layer struct {
	blocks map[int64]*block // a nil block hides one below it
	base   *layer
	stored int64 // visible blocks, including those of lower layers
	sum    string
}

// contents is the data of a volume or a file: sparse, and copied on write. The zero value is all zeros. The simulator's lock
// guards it; the result of [contents.frozen] may be read without the lock.
type contents struct {
	Layer  int              `json:",omitempty"` // number of base in a saved state
	own    map[int64]*block // written since the last snapshot
	base   *layer
	stored int64
}

func (l *layer) at(i int64) *block {
	for ; l != nil; l = l.base {
		if b, ok := l.blocks[i]; ok {
			return b
		}
	}
	return nil
}

func (c *contents) at(i int64) *block {
	if b, ok := c.own[i]; ok {
		return b
	}
	return c.base.at(i)
}

// put replaces a block. A block of zeros becomes a hole.
func (c *contents) put(i int64, data []byte) {
	before := c.at(i)
	var b *block
	if !allZero(data) {
		b = &block{data: data}
	}
	switch {
	case b != nil && before == nil:
		c.stored++
	case b == nil && before != nil:
		c.stored--
	}
	if b == nil && c.base.at(i) == nil {
		delete(c.own, i)
		return
	}
	if c.own == nil {
		c.own = map[int64]*block{}
	}
	c.own[i] = b
}

// readAt fills p with the data at off.
func (c *contents) readAt(p []byte, off int64) {
	for len(p) > 0 {
		i, from := off/blockSize, off%blockSize
		n := min(int64(len(p)), blockSize-from)
		if b := c.at(i); b != nil {
			copy(p[:n], b.data[from:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

// writeAt writes p at off.
func (c *contents) writeAt(p []byte, off int64) {
	for len(p) > 0 {
		i, from := off/blockSize, off%blockSize
		n := min(int64(len(p)), blockSize-from)
		data := make([]byte, blockSize)
		if b := c.at(i); b != nil && n < blockSize {
			copy(data, b.data)
		}
		copy(data[from:], p[:n])
		c.put(i, data)
		p, off = p[n:], off+n
	}
}

// maxAdopted limits the memory that one block keeps alive after the blocks beside it are overwritten.
const maxAdopted = 4 * blockSize

// adopt is writeAt for a buffer that it may keep. If it returns true, the contents share the buffer and the caller must not use
// it again.
func (c *contents) adopt(p []byte, off int64) bool {
	if off%blockSize != 0 || len(p)%blockSize != 0 || len(p) > maxAdopted {
		c.writeAt(p, off)
		return false
	}
	for ; len(p) > 0; p, off = p[blockSize:], off+blockSize {
		c.put(off/blockSize, p[:blockSize:blockSize])
	}
	return true
}

// frozen returns the present contents, which later writes do not change: for a snapshot, a clone, or a reader without the lock.
// It takes constant time and shares all blocks.
func (c *contents) frozen() contents {
	if len(c.own) > 0 {
		c.base = &layer{blocks: c.own, base: c.base, stored: c.stored}
		c.own = nil
	}
	return contents{base: c.base, stored: c.stored}
}

// above visits the visible blocks above a layer, or all blocks if stop is nil.
func (c *contents) above(stop *layer, visit func(int64, *block)) {
	if len(c.own) == 0 && c.base != nil && c.base.base == stop {
		visitStored(c.base.blocks, visit) // A single layer hides nothing.
		return
	}
	if c.base == stop {
		visitStored(c.own, visit)
		return
	}
	seen := map[int64]bool{}
	look := func(blocks map[int64]*block) {
		for i, b := range blocks {
			if !seen[i] {
				seen[i] = true
				if b != nil {
					visit(i, b)
				}
			}
		}
	}
	look(c.own)
	for l := c.base; l != nil && l != stop; l = l.base {
		look(l.blocks)
	}
}

func visitStored(blocks map[int64]*block, visit func(int64, *block)) {
	for i, b := range blocks {
		if b != nil {
			visit(i, b)
		}
	}
}

// hash returns equal texts for equal contents, whatever their layers.
func (c *contents) hash() string {
	c.frozen()
	if c.base == nil || c.stored == 0 {
		return ""
	}
	if c.base.sum == "" {
		c.base.sum = c.sum()
	}
	return c.base.sum
}

func (c *contents) sum() string {
	blocks := map[int64]*block{}
	var order []int64
	c.above(nil, func(i int64, b *block) {
		blocks[i] = b
		order = append(order, i)
	})
	sort.Slice(order, func(a, b int) bool { return order[a] < order[b] })
	h := sha256.New()
	for _, i := range order {
		var index [8]byte
		binary.BigEndian.PutUint64(index[:], uint64(i))
		h.Write(index[:])
		h.Write(blocks[i].hash())
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func (b *block) hash() []byte {
	if b.sum == nil {
		sum := sha256.Sum256(b.data)
		b.sum = sum[:]
	}
	return b.sum
}

func allZero(p []byte) bool {
	var zeros [4096]byte
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if !bytes.Equal(p[:n], zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

// copied returns an independent copy that shares no blocks.
func (c *contents) copied() contents {
	var copied contents
	c.above(nil, func(i int64, b *block) { copied.put(i, append([]byte(nil), b.data...)) })
	return copied
}
