package sim

import (
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
	"math"
)

const sector = 512

// openVMDK reads a sparse extent: a directory of tables of grains. In a
// streamOptimized one the directory is found by the footer, and grains are
// compressed behind a marker.
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

// inflate unpacks a grain: its first sector's number, its length, its bytes.
func (t *tabled) inflate(i, off int64, p []byte) error {
	var marker [12]byte
	t.data.readAt(marker[:], off)
	if lba := binary.LittleEndian.Uint64(marker[:]); int64(lba)*sector != i*t.block {
		return errors.New("the grain's marker is another one's")
	}
	z, err := zlib.NewReader(t.reader(off+12, int64(binary.LittleEndian.Uint32(marker[8:]))))
	if err != nil {
		return err
	}
	n, err := io.ReadFull(z, p)
	clear(p[n:])
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the disk's last grain
	}
	return errors.Join(err, z.Close())
}
