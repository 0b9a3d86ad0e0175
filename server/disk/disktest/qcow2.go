package disktest

import (
	"encoding/binary"
	"math/bits"
)

// Layout of the qcow2 files that this package writes.
const (
	clusterBytes = 64 << 10
	tableEntries = clusterBytes / 8
	copied       = 1 << 63 // of a table entry: the cluster has one reference
)

// Extent is a part of a disk that is allocated in a qcow2, with its zeros. Both numbers are multiples of 64 KiB.
type Extent struct {
	Offset int64
	Data   []byte
}

// QCOW2 returns a disk of size bytes with some extents, in ascending order. Each table precedes its data, as qemu-img writes it;
// with lastTableLate the last table follows its data.
func QCOW2(size int64, extents []Extent, lastTableLate bool) []byte {
	parts := (size + clusterBytes*tableEntries - 1) / (clusterBytes * tableEntries)
	file := make([]byte, 4*clusterBytes) // header, refcount table, refcounts, first table
	tables := make([][]byte, parts)
	data := make([][]byte, parts)
	for _, e := range extents {
		for off := int64(0); off < int64(len(e.Data)); off += clusterBytes {
			cluster := (e.Offset + off) / clusterBytes
			part := cluster / tableEntries
			if tables[part] == nil {
				tables[part] = make([]byte, clusterBytes)
			}
			binary.BigEndian.PutUint64(tables[part][cluster%tableEntries*8:], uint64(len(data[part])+1)) // its position, filled in below
			piece := make([]byte, clusterBytes)
			copy(piece, e.Data[off:])
			data[part] = append(data[part], piece...)
		}
	}
	for part, table := range tables {
		if table == nil {
			continue
		}
		at := int64(len(file))
		first := at + clusterBytes
		if late := lastTableLate && int64(part) == parts-1; late {
			first, at = at, at+int64(len(data[part]))
		}
		for i := 0; i < clusterBytes; i += 8 {
			if place := binary.BigEndian.Uint64(table[i:]); place > 0 {
				binary.BigEndian.PutUint64(table[i:], (uint64(first)+place-1)|copied)
			}
		}
		binary.BigEndian.PutUint64(file[3*clusterBytes+part*8:], uint64(at)|copied)
		if at < first {
			file = append(append(file, table...), data[part]...)
		} else {
			file = append(append(file, data[part]...), table...)
		}
	}
	header(file, size, parts)
	return file
}

// header writes the header of version 3 and the refcounts.
func header(file []byte, size, parts int64) {
	be := binary.BigEndian
	copy(file, "QFI\xfb")
	be.PutUint32(file[4:], 3)
	be.PutUint32(file[20:], uint32(bits.TrailingZeros64(clusterBytes)))
	be.PutUint64(file[24:], uint64(size))
	be.PutUint32(file[36:], uint32(parts))
	be.PutUint64(file[40:], 3*clusterBytes)
	be.PutUint64(file[48:], clusterBytes)
	be.PutUint32(file[56:], 1)
	be.PutUint32(file[96:], 4)
	be.PutUint32(file[100:], 104)
	be.PutUint64(file[clusterBytes:], 2*clusterBytes)
	for i := range len(file) / clusterBytes {
		be.PutUint16(file[2*clusterBytes+i*2:], 1)
	}
}
