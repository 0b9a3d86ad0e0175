package sim

import (
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"io"
	"math"
)

const sector = 512

// openVMDK opens a sparse extent: a directory of tables of grains. In a streamOptimized extent the footer locates the directory,
// and grains are compressed behind a marker.
func openVMDK(data contents, size int64, header []byte) (*tabled, error) {
	le := binary.LittleEndian
	if le.Uint64(header[56:]) == math.MaxUint64 {
		header = make([]byte, sector)
		data.readAt(header, size-2*sector)
		if string(header[:4]) != "KDMV" {
			return nil, errors.New("the vmdk has no footer")
		}
	}
	var (
		directory = int64(le.Uint64(header[56:])) * sector
		entries   = int64(le.Uint32(header[44:]))
		packed    = le.Uint16(header[77:]) == 1
	)
	t := &tabled{data: data, size: int64(le.Uint64(header[12:])) * sector, block: int64(le.Uint64(header[20:])) * sector}
	number := func(off int64) int64 {
		var p [4]byte
		data.readAt(p[:], off)
		return int64(le.Uint32(p[:]))
	}
	t.load = func(i int64, p []byte) (bool, error) {
		table := number(directory + i/entries*4)
		if table == 0 {
			return false, nil
		}
		at := number(table*sector + i%entries*4)
		switch {
		case at <= 1: // never written, or zero
			return false, nil
		case packed:
			return true, t.inflate(i, at*sector, p)
		}
		data.readAt(p, at*sector)
		return true, nil
	}
	return t, nil
}

// inflate decompresses the i-th grain, whose marker is at off, into p.
func (t *tabled) inflate(i, off int64, p []byte) error {
	var marker [12]byte
	t.data.readAt(marker[:], off)
	if lba := binary.LittleEndian.Uint64(marker[:]); int64(lba)*sector != i*t.block {
		return errors.New("the grain's marker is another one's")
	}
	length := int64(binary.LittleEndian.Uint32(marker[8:]))
	if n, ok := t.stored(off+12, length, p); ok {
		clear(p[n:])
		return nil
	}
	z, err := zlib.NewReader(t.reader(off+12, length))
	if err != nil {
		return err
	}
	n, err := readTo(z, p)
	clear(p[n:])
	return err
}

// readTo reads a stream to its end, where the checksum is verified. The last grain of a disk is shorter than the others.
func readTo(z io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = z.Read(p[n:])
		n += more
	}
	if err == nil {
		var beyond [1]byte
		if _, err = io.ReadFull(z, beyond[:]); err == nil {
			return n, errors.New("the grain is longer than it may be")
		}
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// stored copies a grain whose zlib stream is not compressed. A fast upload consists mostly of such grains, and an inflater copies
// each byte three times. It returns false for a compressed or invalid stream, which the inflater handles.
func (t *tabled) stored(off, length int64, p []byte) (n int, ok bool) {
	var head [5]byte
	t.data.readAt(head[:2], off)
	if head[0] != 0x78 || head[1]&0x20 != 0 || binary.BigEndian.Uint16(head[:])%31 != 0 {
		return 0, false
	}
	end := off + length - adler32.Size
	off += 2
	for last := false; !last; {
		if off+int64(len(head)) > end {
			return 0, false
		}
		t.data.readAt(head[:], off)
		off += int64(len(head))
		size := binary.LittleEndian.Uint16(head[1:])
		if head[0]&6 != 0 || size != ^binary.LittleEndian.Uint16(head[3:]) || off+int64(size) > end || n+int(size) > len(p) {
			return 0, false
		}
		t.data.readAt(p[n:n+int(size)], off)
		off, n, last = off+int64(size), n+int(size), head[0]&1 != 0
	}
	t.data.readAt(head[:adler32.Size], off)
	return n, binary.BigEndian.Uint32(head[:]) == adler32.Checksum(p[:n])
}
