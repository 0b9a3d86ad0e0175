package sim

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// streamOf returns a zlib stream of grains in the format of a vmdk.
func streamOf(t *testing.T, level int, p []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := zlib.NewWriterLevel(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// grainIn returns a vmdk with one grain at sector 3 of the file.
func grainIn(stream []byte) *tabled {
	t := &tabled{block: 64 << 10}
	at := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, 0), uint32(len(stream)))
	t.data.writeAt(append(at, stream...), 3*sector)
	return t
}

// Grains without compression are copied. All others, and invalid ones, go to the inflater.
func TestGrainsOfVMDK(t *testing.T) {
	random := rand.NewChaCha8([32]byte{3})
	whole, short := make([]byte, 64<<10), make([]byte, 20<<10)
	_, _ = random.Read(whole)
	_, _ = random.Read(short)
	spoiled := func(stream []byte, at int) []byte {
		stream = bytes.Clone(stream)
		stream[(at+len(stream))%len(stream)] ^= 0x40
		return stream
	}
	plain := streamOf(t, zlib.NoCompression, whole)
	for _, tt := range []struct {
		name           string
		stream, want   []byte // nil: an error
		stored, failed bool
	}{
		{"stored", plain, whole, true, false},
		{"stored, the last grain of a disk", streamOf(t, zlib.NoCompression, short), short, true, false},
		{"compressed", streamOf(t, zlib.BestCompression, make([]byte, 64<<10)), nil, false, false},
		{"compressed and cut off", streamOf(t, zlib.BestCompression, make([]byte, 64<<10))[:50], nil, false, true},
		{"empty", streamOf(t, zlib.NoCompression, nil), nil, true, false},
		{"a wrong byte", spoiled(plain, 1000), nil, false, true},
		{"a wrong checksum", spoiled(plain, -1), nil, false, true},
		{"a wrong length", spoiled(plain, 3), nil, false, true},
		{"another method", spoiled(plain, 0), nil, false, true},
		{"cut off", plain[:len(plain)/2], nil, false, true},
		{"too long", streamOf(t, zlib.NoCompression, append(bytes.Clone(whole), 1)), nil, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vmdk, p := grainIn(tt.stream), bytes.Repeat([]byte{0xee}, 64<<10)
			if _, ok := vmdk.stored(3*sector+12, int64(len(tt.stream)), bytes.Clone(p)); ok != tt.stored {
				t.Errorf("stored answers %v", ok)
			}
			err := vmdk.inflate(0, 3*sector, p)
			if (err != nil) != tt.failed {
				t.Errorf("the error is %v", err)
			}
			if want := append(bytes.Clone(tt.want), make([]byte, 64<<10-len(tt.want))...); err == nil && !bytes.Equal(p, want) {
				t.Error("the grain has other bytes")
			}
		})
	}
}

// An adopted block is not changed by a later write, which allocates its own.
func TestAdoptedBlocks(t *testing.T) {
	p := make([]byte, 4*blockSize)
	p[0], p[3*blockSize] = 1, 4
	var c contents
	if !c.adopt(p, 0) {
		t.Fatal("four blocks were not adopted")
	}
	before := c.frozen()
	if c.stored != 2 || c.at(1) != nil {
		t.Errorf("%d blocks are stored", c.stored)
	}
	c.writeAt([]byte{9}, 1)
	var got [2]byte
	before.readAt(got[:], 0)
	if got != [2]byte{1, 0} || p[1] != 0 {
		t.Errorf("a write changed the frozen contents: %v", got)
	}
	for _, tt := range []struct{ off, n int64 }{{1, blockSize}, {0, blockSize - 1}, {0, 5 * blockSize}} {
		q := bytes.Repeat([]byte{7}, int(tt.n))
		if c.adopt(q, tt.off) {
			t.Errorf("%d bytes at %d were adopted", tt.n, tt.off)
		}
		clear(q)
		c.readAt(got[:1], tt.off)
		if got[0] != 7 {
			t.Errorf("%d bytes at %d were not copied", tt.n, tt.off)
		}
	}
}

// An image is read in parts that are joined again. Its error is that of the first failing part.
func TestTabledImageInParts(t *testing.T) {
	for _, size := range []int64{0, 512, 20 << 10, 3<<20 + 512} {
		for _, unit := range []int64{512, 4 << 10, 64 << 10, 1 << 20} {
			disk := make([]byte, size)
			_, _ = rand.NewChaCha8([32]byte{9}).Read(disk)
			if size > 1<<20 {
				clear(disk[500<<10 : 900<<10])
			}
			image := &tabled{size: size, block: unit, load: func(i int64, p []byte) (bool, error) {
				clear(p)
				copy(p, disk[i*unit:])
				return !allZero(p), nil
			}}
			out, err := image.read(&call{job: &job{ctx: t.Context()}})
			got := make([]byte, size)
			out.readAt(got, 0)
			if err != nil || !bytes.Equal(got, disk) {
				t.Errorf("%d bytes in blocks of %d: %v", size, unit, err)
			}
			image.load = func(i int64, _ []byte) (bool, error) { return false, fmt.Errorf("block %d", i) }
			if _, err := image.read(&call{job: &job{ctx: t.Context()}}); size > 0 && (err == nil || !strings.Contains(err.Error(), "block 0")) {
				t.Errorf("%d bytes in blocks of %d: the error is %v", size, unit, err)
			}
		}
	}
}

// An image whose header has an invalid block size is refused.
func TestTabledImageWithoutBlocks(t *testing.T) {
	for _, sectors := range []uint64{0, 1 << 62, 1 << 40} {
		header := make([]byte, 4096)
		copy(header, "KDMV")
		binary.LittleEndian.PutUint64(header[12:], 8)
		binary.LittleEndian.PutUint64(header[20:], sectors)
		var data contents
		data.writeAt(header, 0)
		if image, err := openDisk(data.frozen(), 1<<20); err == nil {
			t.Errorf("grains of %d sectors: %+v", sectors, image)
		}
	}
}
