package sim

import (
	"encoding/binary"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/lima-vm/go-qcow2reader"
	"github.com/lima-vm/go-qcow2reader/image"
	"github.com/lima-vm/go-qcow2reader/image/qcow2"
	"github.com/lima-vm/go-qcow2reader/image/raw"
)

// readZstd registers a decompressor that the qcow2 package lacks. The package keeps its decompressors in a global variable.
var readZstd = sync.OnceFunc(func() {
	qcow2.SetDecompressor(qcow2.CompressionTypeZstd, func(r io.Reader) (io.ReadCloser, error) {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	})
})

// disk is a readable disk image.
type disk struct {
	image  image.Image
	tabled *tabled // set instead of image, for formats that the library lacks
	size   int64   // of the disk inside, in bytes
}

// openDisk detects the format from the file's content, as qemu-img does.
func openDisk(data contents, size int64) (*disk, error) {
	readZstd()
	if t, err := openTabled(data, size); t != nil || err != nil {
		if err != nil {
			return nil, fail(eFAULT, "Failed to convert: qemu-img: could not open the image: %v", err)
		}
		return &disk{tabled: t, size: t.size}, nil
	}
	img, err := qcow2reader.Open(io.NewSectionReader(frozenReader{data}, 0, size))
	if err != nil {
		return nil, fail(eFAULT, "Failed to convert: qemu-img: could not open the image: %v", err)
	}
	d := &disk{image: img, size: img.Size()}
	if img.Type() == raw.Type {
		d.size = size
	}
	if err := img.Readable(); err != nil || d.size < 0 {
		return nil, fail(eFAULT, "Failed to convert: the simulator does not read %s: %v", img.Type(), err)
	}
	return d, nil
}

// read returns the contents of an image, and reports progress to the job.
func (d *disk) read(c *call) (contents, error) {
	if d.tabled != nil {
		return d.tabled.read(c)
	}
	var out contents
	buffer := make([]byte, 64*blockSize)
	reported := 0.0
	for off := int64(0); off < d.size; {
		if c.job.ctx.Err() != nil {
			return contents{}, c.job.ctx.Err()
		}
		extent, err := d.extent(off)
		n := min(extent.Length, int64(len(buffer)))
		if err == nil && !extent.Zero {
			n, err = d.readInto(&out, buffer[:n], off)
		} else if err == nil {
			n = extent.Length
		}
		if err == nil && n <= 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return contents{}, fail(eFAULT, "Failed to convert: qemu-img: error while reading at byte %d: %v", off, err)
		}
		off += n
		if percent := 100 * float64(off) / float64(d.size); percent >= reported+10 {
			reported = percent
			c.progress(min(percent, 99), fmt.Sprintf("%.0f%% converted", percent))
		}
	}
	return out, nil
}

// extent returns the extent at off. A raw image is one extent, because the library cannot read the length of all of them.
func (d *disk) extent(off int64) (image.Extent, error) {
	if d.image.Type() == raw.Type {
		return image.Extent{Start: off, Length: d.size - off, Allocated: true}, nil
	}
	return d.image.Extent(off, d.size-off)
}

func (d *disk) readInto(out *contents, p []byte, off int64) (int64, error) {
	n, err := d.image.ReadAt(p, off)
	if n == len(p) || err == io.EOF && n > 0 {
		err = nil
	}
	out.writeAt(p[:n], off)
	return int64(n), err
}

// clusterSize is the cluster size in bytes of written images.
const clusterSize = 64 << 10

// writeQcow2 writes a plain image of version 3: no compression, no features, and only clusters with data.
func writeQcow2(data *contents, size int64) (contents, int64) {
	var used []int64
	seen := map[int64]bool{}
	data.above(nil, func(i int64, _ *block) {
		if n := i * blockSize / clusterSize; !seen[n] && n*clusterSize < size {
			seen[n] = true
			used = append(used, n)
		}
	})
	sort.Slice(used, func(i, j int) bool { return used[i] < used[j] })
	w := newQcow2Layout(size, used)
	w.out.writeAt(w.header(), 0)
	w.counts()
	buffer := make([]byte, clusterSize)
	for i, n := range used {
		data.readAt(buffer, n*clusterSize)
		clear(buffer[min(clusterSize, max(0, size-n*clusterSize)):])
		w.out.writeAt(buffer, w.place(n, w.data+int64(i)))
	}
	return w.out, w.clusters * clusterSize
}

// qcow2Layout holds the positions of the parts in clusters: the header, the tables, and then the data.
type qcow2Layout struct {
	size                             int64
	entries                          int64 // of the first table
	l1, refTable, refBlock, l2, data int64
	clusters                         int64
	tables                           map[int64]int64 // second tables by their number
	out                              contents
}

// The clusters that one second-level table maps, and that one block of reference counts counts.
const (
	l2Entries  = clusterSize / 8
	refEntries = clusterSize / 2
)

func newQcow2Layout(size int64, used []int64) *qcow2Layout {
	w := &qcow2Layout{size: size, entries: max(1, ceil(size, l2Entries*clusterSize)), tables: map[int64]int64{}}
	w.l1 = 1
	w.refTable = w.l1 + ceil(w.entries*8, clusterSize)
	for _, n := range used {
		if _, ok := w.tables[n/l2Entries]; !ok {
			w.tables[n/l2Entries] = int64(len(w.tables))
		}
	}
	rest := int64(len(w.tables) + len(used))
	blocks := int64(1)
	for ceil(w.refTable+1+blocks+rest, refEntries) > blocks {
		blocks++
	}
	w.refBlock = w.refTable + 1
	w.l2 = w.refBlock + blocks
	w.data = w.l2 + int64(len(w.tables))
	w.clusters = w.data + int64(len(used))
	return w
}

func ceil(n, of int64) int64 { return (n + of - 1) / of }

func (w *qcow2Layout) header() []byte {
	h := make([]byte, 104)
	copy(h, "QFI\xfb")
	binary.BigEndian.PutUint32(h[4:], 3)
	binary.BigEndian.PutUint32(h[20:], 16) // cluster bits
	binary.BigEndian.PutUint64(h[24:], uint64(w.size))
	binary.BigEndian.PutUint32(h[36:], uint32(w.entries))
	binary.BigEndian.PutUint64(h[40:], uint64(w.l1*clusterSize))
	binary.BigEndian.PutUint64(h[48:], uint64(w.refTable*clusterSize))
	binary.BigEndian.PutUint32(h[56:], 1) // clusters of the reference table
	binary.BigEndian.PutUint32(h[96:], 4) // reference counts have 16 bits
	binary.BigEndian.PutUint32(h[100:], 104)
	return h
}

// counts sets the reference count of every cluster to one. That also allows writes in place.
func (w *qcow2Layout) counts() {
	for i := range w.l2 - w.refBlock {
		w.number(w.refTable*clusterSize+i*8, uint64((w.refBlock+i)*clusterSize))
	}
	one := []byte{0, 1}
	for i := range w.clusters {
		w.out.writeAt(one, w.refBlock*clusterSize+i*2)
	}
}

// place enters a cluster of the disk into the tables and returns its offset.
func (w *qcow2Layout) place(n, at int64) int64 {
	const copied = 1 << 63
	table := (w.l2 + w.tables[n/l2Entries]) * clusterSize
	w.number(w.l1*clusterSize+n/l2Entries*8, uint64(table)|copied)
	w.number(table+n%l2Entries*8, uint64(at*clusterSize)|copied)
	return at * clusterSize
}

func (w *qcow2Layout) number(off int64, n uint64) {
	w.out.writeAt(binary.BigEndian.AppendUint64(nil, n), off)
}
