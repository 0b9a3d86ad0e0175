package disk

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/bits"

	"github.com/klauspost/compress/flate"
)

// Here a qcow2 has its tables before its data, so that it can be written in order and once, to places that cannot seek. The tables
// need the sizes of the compressed clusters: so the disk is read twice.
const (
	// qcow2Window is the window of QEMU's compressor, which readers may rely on.
	qcow2Window   = 4096
	qcow2Copied   = 1 << 63
	qcow2SizeBits = 54 // of a compressed cluster's entry: the bits below hold its offset, those above the number of additional sectors
	qcow2RefBits  = 16
	qcow2RefPer   = pieceBytes * 8 / qcow2RefBits // counts in a cluster

	hole  = 0
	plain = 0xffff // compression does not make the cluster smaller
)

// CompressedQCOW2 is the plan of a compressed qcow2, with everything except its data.
type CompressedQCOW2 struct {
	size   int64
	tables map[int64]*[qcow2Entries]uint16 // by number: the bytes of each cluster, or hole, or plain
	packer *flate.Writer
	packed bytes.Buffer

	// Positions, in clusters.
	l1, refTable, refBlocks, l2, data, end int64
	l1Clusters, blocks                     int64
}

// PlanQCOW2 reads a disk of size bytes, as the NAS made it in format raw or qcow2, and determines the compressed sizes; see
// [ErrUnordered]. It keeps two bytes for each 64 KiB in use.
func PlanQCOW2(image io.Reader, format Format, size int64) (*CompressedQCOW2, error) {
	packer, err := flate.NewWriterWindow(io.Discard, qcow2Window)
	if err != nil {
		return nil, err
	}
	c := &CompressedQCOW2{size: size, tables: map[int64]*[qcow2Entries]uint16{}, packer: packer}
	err = eachPiece(image, format, size, func(n int64, p []byte) error {
		b, err := c.pack(p)
		if err != nil {
			return err
		}
		table := c.tables[n/qcow2Entries]
		if table == nil {
			table = new([qcow2Entries]uint16)
			c.tables[n/qcow2Entries] = table
		}
		table[n%qcow2Entries] = uint16(min(len(b), plain))
		return nil
	})
	c.layOut()
	return c, err
}

// pack compresses a cluster, and returns it unchanged if that does not make it smaller.
func (c *CompressedQCOW2) pack(p []byte) ([]byte, error) {
	c.packed.Reset()
	c.packer.Reset(&c.packed)
	if _, err := c.packer.Write(p); err != nil {
		return nil, err
	}
	if err := c.packer.Close(); err != nil {
		return nil, err
	}
	if c.packed.Len() >= plain {
		return p, nil
	}
	return c.packed.Bytes(), nil
}

// layOut computes all positions.
func (c *CompressedQCOW2) layOut() {
	up := func(n, of int64) int64 { return (n + of - 1) / of }
	c.l1, c.l1Clusters = 1, max(1, up(c.l1Entries()*8, pieceBytes))
	c.refTable = c.l1 + c.l1Clusters
	used := int64(0) // bytes
	c.each(func(_, off int64, size uint16) { used = off + taken(size) })
	tail := int64(len(c.tables)) + up(used, pieceBytes)
	for c.blocks = 1; ; c.blocks++ {
		c.refBlocks = c.refTable + up(c.blocks*8, pieceBytes)
		c.l2 = c.refBlocks + c.blocks
		c.end = c.l2 + tail
		if c.blocks*qcow2RefPer >= c.end {
			break
		}
	}
	c.data = c.l2 + int64(len(c.tables))
}

// l1Entries returns the number of second tables for the disk.
func (c *CompressedQCOW2) l1Entries() int64 {
	return (c.size + qcow2Entries*pieceBytes - 1) / (qcow2Entries * pieceBytes)
}

// Bytes returns the file's length.
func (c *CompressedQCOW2) Bytes() int64 { return c.end * pieceBytes }

// taken returns the number of bytes for a cluster of that size.
func taken(size uint16) int64 {
	if size == plain {
		return pieceBytes
	}
	return int64(size)
}

// each visits the clusters other than holes in order, with their offset from the start of the data. Compressed clusters are
// adjacent; others begin at a cluster boundary.
func (c *CompressedQCOW2) each(visit func(n, off int64, size uint16)) {
	off := int64(0)
	for t := range c.l1Entries() {
		table := c.tables[t]
		if table == nil {
			continue
		}
		for i, size := range table {
			if size == hole {
				continue
			}
			if size == plain {
				off = (off + pieceBytes - 1) / pieceBytes * pieceBytes
			}
			visit(t*qcow2Entries+int64(i), off, size)
			off += taken(size)
		}
	}
}

// clusterEntry returns the entry of a second table for a cluster at an offset of the file.
func clusterEntry(off int64, size uint16) uint64 {
	if size == plain {
		return uint64(off) | qcow2Copied
	}
	more := (off+int64(size)-1)/sectorBytes - off/sectorBytes
	return uint64(off) | uint64(more)<<qcow2SizeBits | qcow2IsPacked
}

// WriteTo writes the file, from a second reading of the same disk.
func (c *CompressedQCOW2) WriteTo(w io.Writer, image io.Reader, format Format) error {
	for _, part := range [][]byte{c.header(), c.firstTable(), c.refs()} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	if err := c.secondTables(w); err != nil {
		return err
	}
	return c.clusters(w, image, format)
}

func (c *CompressedQCOW2) header() []byte {
	h := make([]byte, pieceBytes)
	be := binary.BigEndian
	copy(h, "QFI\xfb")
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[20:], uint32(bits.TrailingZeros(pieceBytes)))
	be.PutUint64(h[24:], uint64(c.size))
	be.PutUint32(h[36:], uint32(c.l1Entries()))
	be.PutUint64(h[40:], uint64(c.l1*pieceBytes))
	be.PutUint64(h[48:], uint64(c.refTable*pieceBytes))
	be.PutUint32(h[56:], uint32(c.refBlocks-c.refTable))
	be.PutUint32(h[96:], uint32(bits.TrailingZeros(qcow2RefBits)))
	be.PutUint32(h[100:], 104)
	return h
}

func (c *CompressedQCOW2) firstTable() []byte {
	b := make([]byte, c.l1Clusters*pieceBytes)
	next := c.l2
	for t := range c.l1Entries() {
		if c.tables[t] != nil {
			binary.BigEndian.PutUint64(b[8*t:], uint64(next*pieceBytes)|qcow2Copied)
			next++
		}
	}
	return b
}

// refs returns the table of the reference counts, and the counts: 1 for each cluster of the file, and for a cluster with compressed
// data the number of clusters in it.
func (c *CompressedQCOW2) refs() []byte {
	be := binary.BigEndian
	b := make([]byte, (c.l2-c.refTable)*pieceBytes)
	for i := range c.blocks {
		be.PutUint64(b[8*i:], uint64((c.refBlocks+i)*pieceBytes))
	}
	counts := b[(c.refBlocks-c.refTable)*pieceBytes:]
	count := func(cluster int64) { be.PutUint16(counts[2*cluster:], be.Uint16(counts[2*cluster:])+1) }
	for cluster := range c.data {
		count(cluster)
	}
	c.each(func(_, off int64, size uint16) {
		from := c.data + off/pieceBytes
		to := c.data + (off+taken(size)-1)/pieceBytes
		for ; from <= to; from++ {
			count(from)
		}
	})
	return b
}

func (c *CompressedQCOW2) secondTables(w io.Writer) error {
	b := make([]byte, pieceBytes)
	current := int64(-1)
	var failed error
	flush := func(next int64) {
		if current >= 0 && next != current && failed == nil {
			_, failed = w.Write(b)
			clear(b)
		}
		current = next
	}
	c.each(func(n, off int64, size uint16) {
		flush(n / qcow2Entries)
		binary.BigEndian.PutUint64(b[n%qcow2Entries*8:], clusterEntry(c.data*pieceBytes+off, size))
	})
	flush(-1)
	return failed
}

// clusters writes the data. A disk that has changed since the plan would not match the tables.
func (c *CompressedQCOW2) clusters(w io.Writer, image io.Reader, format Format) error {
	off := int64(0)
	fill := func() error {
		gap := (off+pieceBytes-1)/pieceBytes*pieceBytes - off
		off += gap
		_, err := w.Write(make([]byte, gap))
		return err
	}
	err := eachPiece(image, format, c.size, func(n int64, p []byte) error {
		b, err := c.pack(p)
		if err != nil {
			return err
		}
		table := c.tables[n/qcow2Entries]
		if table == nil || table[n%qcow2Entries] != uint16(min(len(b), plain)) {
			return refusal(ErrChanged, "cluster %d of the disk changed since the first pass", n)
		}
		if len(b) >= plain {
			if err := fill(); err != nil {
				return err
			}
		}
		off += int64(len(b))
		_, err = w.Write(b)
		return err
	})
	if err != nil {
		return err
	}
	if err := fill(); err != nil {
		return err
	}
	if off != (c.end-c.data)*pieceBytes {
		return refusal(ErrChanged, "disk has less data than in the first pass")
	}
	return nil
}
