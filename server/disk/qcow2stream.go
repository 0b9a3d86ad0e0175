package disk

import (
	"encoding/binary"
	"io"
)

// Entries of a qcow2's tables.
const (
	qcow2OffsetMask = 0x00fffffffffffe00
	qcow2IsPacked   = 1 << 62
	qcow2IsZero     = 1
	qcow2Entries    = pieceBytes / 8 // of a table of one cluster
)

// qcow2Stream reads a qcow2 from its first cluster to its last. It works for files in which a table precedes its data, and the data
// is in the order of the disk; others are ErrUnordered.
type qcow2Stream struct {
	r       io.Reader
	size    int64 // of the disk, in bytes
	visit   visitor
	zeros   bool // also visit clusters of zeros
	maxRuns int  // bounds data

	at      int64    // number of the cluster in buf
	l1      []uint64 // offsets of the second tables
	entries int      // the final number of entries of l1
	l1At    int64    // the first cluster of l1
	table   int      // the first entry of l1 whose table has not been read
	data    []run    // clusters with data that have not been read, ascending in the file and in the disk
	buf     []byte
}

// Limits of the runs of data that a stream keeps in memory, of 24 bytes each: a table refers to much more data than its own size.
const (
	maxRuns     = 1 << 20 // of a file that the NAS made
	maxRunsSent = 1 << 16 // of an image from elsewhere
)

// run is a row of adjacent clusters in the file and in the disk.
type run struct{ host, guest, count int64 }

func newQCOW2Stream(r io.Reader, size int64, visit visitor) *qcow2Stream {
	return &qcow2Stream{r: r, size: size, visit: visit, buf: make([]byte, pieceBytes), at: -1, maxRuns: maxRuns}
}

// read reads the file.
func (q *qcow2Stream) read() error {
	if err := q.next(); err != nil {
		return ended(err)
	}
	if err := q.header(); err != nil {
		return err
	}
	for {
		err := q.next()
		if err == io.EOF {
			return q.finish()
		}
		if err == nil {
			err = q.cluster()
		}
		if err != nil {
			return err
		}
	}
}

// next reads a cluster. The last one may be short.
func (q *qcow2Stream) next() error {
	n, err := io.ReadFull(q.r, q.buf)
	if err == io.ErrUnexpectedEOF {
		clear(q.buf[n:])
		err = nil
	}
	q.at++
	return err
}

// header finds the first table from the first cluster, and returns ErrUnordered for features that qemu-img writes only when they
// are used.
func (q *qcow2Stream) header() error {
	h, err := readQCOW2(&head{buf: q.buf, err: io.EOF})
	switch {
	case err != nil:
		return err
	case string(q.buf[:4]) != "QFI\xfb", h.cluster() != pieceBytes, h.incompatible != 0, h.backingOffset != 0, h.crypt != 0, h.snapshots != 0:
		return refusal(ErrUnordered, "qcow2 has features that are not read as a stream")
	case h.size != uint64(q.size):
		return refusal(ErrLength, "qcow2 has a disk of %d bytes, expected are %d", h.size, q.size)
	case h.l1Offset%pieceBytes != 0 || h.l1Offset == 0 || h.l1Offset > 1<<56:
		return refusal(ErrCorrupt, "qcow2 L1 table is at %d", h.l1Offset)
	}
	q.l1At, q.entries = int64(h.l1Offset)/pieceBytes, int(h.l1Needed())
	return nil
}

// cluster handles the cluster that was just read: a part of the first table, a second table, data, or metadata that does not matter
// here.
func (q *qcow2Stream) cluster() error {
	switch {
	case len(q.l1) < q.entries:
		if q.at >= q.l1At {
			q.firstTable()
		}
		return nil
	case len(q.data) > 0 && q.data[0].host <= q.at:
		return q.pass()
	}
	for q.table < len(q.l1) && q.l1[q.table] == 0 {
		q.table++
	}
	if q.table == len(q.l1) {
		return nil
	}
	switch where := int64(q.l1[q.table]) / pieceBytes; {
	case where < q.at:
		return refusal(ErrUnordered, "qcow2 has an L2 table out of order")
	case where == q.at:
		return q.secondTable()
	}
	return nil
}

// firstTable reads a cluster of the L1 table.
func (q *qcow2Stream) firstTable() {
	for off := 0; off < len(q.buf) && len(q.l1) < q.entries; off += 8 {
		q.l1 = append(q.l1, binary.BigEndian.Uint64(q.buf[off:])&qcow2OffsetMask)
	}
}

// secondTable reads an L2 table with the positions of the clusters of a part of the disk.
func (q *qcow2Stream) secondTable() error {
	first := int64(q.table) * qcow2Entries
	q.table++
	for i := range int64(qcow2Entries) {
		entry := binary.BigEndian.Uint64(q.buf[8*i:])
		host := int64(entry&qcow2OffsetMask) / pieceBytes
		switch {
		case entry&qcow2IsPacked != 0:
			return refusal(ErrUnordered, "qcow2 has compressed clusters")
		case entry&qcow2IsZero != 0 || entry&qcow2OffsetMask == 0:
			continue
		case entry&qcow2OffsetMask%pieceBytes != 0:
			return refusal(ErrCorrupt, "qcow2 has data at %d, not at a cluster of %d bytes", entry&qcow2OffsetMask, pieceBytes)
		case host <= q.at:
			return refusal(ErrUnordered, "qcow2 has data before the table that describes it")
		}
		if err := q.expect(host, first+i); err != nil {
			return err
		}
	}
	return nil
}

// expect records a future cluster with data.
func (q *qcow2Stream) expect(host, guest int64) error {
	if len(q.data) > 0 {
		last := &q.data[len(q.data)-1]
		switch {
		case host == last.host+last.count && guest == last.guest+last.count:
			last.count++
			return nil
		case host < last.host+last.count:
			return refusal(ErrUnordered, "qcow2 clusters are out of order")
		}
	}
	if len(q.data) == q.maxRuns {
		return refusal(ErrUnordered, "qcow2 maps more than %d runs of clusters ahead of their data", q.maxRuns)
	}
	q.data = append(q.data, run{host, guest, 1})
	return nil
}

// pass passes a cluster with data to visit.
func (q *qcow2Stream) pass() error {
	first := &q.data[0]
	if first.host < q.at {
		return refusal(ErrUnordered, "qcow2 data overlaps a table")
	}
	guest := first.guest
	first.host, first.guest, first.count = first.host+1, first.guest+1, first.count-1
	if first.count == 0 {
		q.data = q.data[1:]
	}
	if guest*pieceBytes >= q.size {
		return refusal(ErrCorrupt, "qcow2 has data beyond the end of the disk")
	}
	if left := q.size - guest*pieceBytes; left < pieceBytes {
		clear(q.buf[left:])
	}
	if !q.zeros && allZero(q.buf) {
		return nil
	}
	return q.visit(guest, q.buf)
}

// finish checks that all expected data was read.
func (q *qcow2Stream) finish() error {
	for q.table < len(q.l1) && q.l1[q.table] == 0 {
		q.table++
	}
	if len(q.data) > 0 || len(q.l1) < q.entries || q.table < len(q.l1) {
		return refusal(ErrLength, "qcow2 ends before the end of the disk")
	}
	return nil
}
