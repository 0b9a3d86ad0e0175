package disk

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// qcow2Tables is the part of a qcow2 before its data, written cluster by cluster: header, refcount table, refcount blocks, L1
// table, L2 tables. The clusters with data follow in the given order.
type qcow2Tables struct {
	size    int64 // bytes of the disk
	cluster int64 // bytes
	// Cluster counts: of the tables, and of the file.
	refTable, refBlocks, l1, total int64
	l2                             []int64         // the parts of the disk that have an L2 table
	data                           map[int64]int64 // cluster of the disk -> cluster of the file

	next int64 // the next cluster to write
	rest []byte
}

// layOut places the clusters of a disk with data, in the order in which they will arrive.
func layOut(size, cluster int64, data []int64) qcow2Tables {
	q := qcow2Tables{size: size, cluster: cluster, data: make(map[int64]int64, len(data))}
	entries := cluster / 8
	parts := (size + cluster*entries - 1) / (cluster * entries)
	used := make([]bool, parts)
	for _, n := range data {
		used[n/entries] = true
	}
	for part, isUsed := range used {
		if isUsed {
			q.l2 = append(q.l2, int64(part))
		}
	}
	q.l1 = (parts*8 + cluster - 1) / cluster
	fixed := 1 + q.l1 + int64(len(q.l2)) + int64(len(data))
	for q.refBlocks, q.refTable = 1, 1; ; { // the blocks also count themselves
		q.total = fixed + q.refBlocks + q.refTable
		blocks := (q.total*2 + cluster - 1) / cluster
		table := (blocks*8 + cluster - 1) / cluster
		if blocks <= q.refBlocks && table <= q.refTable {
			break
		}
		q.refBlocks, q.refTable = max(blocks, q.refBlocks), max(table, q.refTable)
	}
	for i, n := range data {
		q.data[n] = q.total - int64(len(data)) + int64(i)
	}
	return q
}

// bytes returns the length of the tables.
func (q *qcow2Tables) bytes() int64 { return (q.total - int64(len(q.data))) * q.cluster }

// Read implements [io.Reader].
func (q *qcow2Tables) Read(p []byte) (int, error) {
	if len(q.rest) == 0 {
		if q.next*q.cluster == q.bytes() {
			return 0, io.EOF
		}
		q.rest = q.write(q.next)
		q.next++
	}
	n := copy(p, q.rest)
	q.rest = q.rest[n:]
	return n, nil
}

// write makes a cluster.
func (q *qcow2Tables) write(n int64) []byte {
	b := make([]byte, q.cluster)
	firstRefs := 1 + q.refTable
	firstL1 := firstRefs + q.refBlocks
	firstL2 := firstL1 + q.l1
	switch {
	case n == 0:
		q.header(b, firstL1)
	case n < firstRefs:
		q.entries(b, (n-1)*q.cluster/8, q.refBlocks, func(i int64) uint64 { return uint64((firstRefs + i) * q.cluster) })
	case n < firstL1:
		first := (n - firstRefs) * q.cluster / 2
		for i := first; i < min(q.total, first+q.cluster/2); i++ {
			b[(i-first)*2+1] = 1
		}
	case n < firstL2:
		first := (n - firstL1) * q.cluster / 8
		for i, part := range q.l2 {
			if part >= first && part < first+q.cluster/8 {
				binary.BigEndian.PutUint64(b[(part-first)*8:], uint64((firstL2+int64(i))*q.cluster)|qcow2Copied)
			}
		}
	default:
		first := q.l2[n-firstL2] * q.cluster / 8
		for i := range q.cluster / 8 {
			if at, ok := q.data[first+i]; ok {
				binary.BigEndian.PutUint64(b[i*8:], uint64(at*q.cluster)|qcow2Copied)
			}
		}
	}
	return b
}

// entries fills a cluster of a table that has count entries, starting at the entry first.
func (q *qcow2Tables) entries(b []byte, first, count int64, entry func(i int64) uint64) {
	for i := first; i < min(count, first+q.cluster/8); i++ {
		binary.BigEndian.PutUint64(b[(i-first)*8:], entry(i))
	}
}

// header writes the header of version 3, with an empty list of extensions.
func (q *qcow2Tables) header(b []byte, firstL1 int64) {
	put := binary.BigEndian
	copy(b, "QFI\xfb")
	put.PutUint32(b[4:], 3)
	put.PutUint32(b[20:], uint32(bits.TrailingZeros64(uint64(q.cluster))))
	put.PutUint64(b[24:], uint64(q.size))
	entries := q.cluster / 8
	put.PutUint32(b[36:], uint32((q.size+q.cluster*entries-1)/(q.cluster*entries)))
	put.PutUint64(b[40:], uint64(firstL1*q.cluster))
	put.PutUint64(b[48:], uint64(q.cluster))
	put.PutUint32(b[56:], uint32(q.refTable))
	put.PutUint32(b[96:], 4) // refcounts of 16 bits
	put.PutUint32(b[100:], 104)
}
