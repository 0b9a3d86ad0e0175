package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lima-vm/go-qcow2reader"
)

// holey returns a disk with data here and there, some of it incompressible, over more than one table.
func holey(size int) []byte {
	disk := make([]byte, size)
	random := rand.New(rand.NewPCG(5, 6))
	for at := 0; at < size; at += size/9 + 4321 {
		piece := disk[at:min(at+300_000, size)]
		for i := range piece {
			piece[i] = byte(random.Uint32())
		}
	}
	copy(disk[size/2:], strings.Repeat("text that can be compressed ", 30_000))
	disk[size-1] = 1
	return disk
}

// compress makes a compressed qcow2 of an image.
func compress(t testing.TB, image []byte, format Format, size int64) ([]byte, error) {
	t.Helper()
	plan, err := PlanQCOW2(bytes.NewReader(image), format, size)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = plan.WriteTo(&out, bytes.NewReader(image), format)
	if err == nil && int64(out.Len()) != plan.Bytes() {
		t.Errorf("%d bytes were announced, and %d written", plan.Bytes(), out.Len())
	}
	return out.Bytes(), err
}

func TestCompressedQCOW2(t *testing.T) {
	for _, tt := range []struct {
		name string
		disk []byte
	}{
		{"data here and there", holey(40 * mib)},
		{"nothing", make([]byte, 3*mib)},
		{"one byte at the end", append(make([]byte, 5*mib-1), 7)},
		{"an odd size", holey(9*mib + 512)},
		{"what cannot be compressed", rawDisk(4 * mib)},
		{"much that compresses well", bytes.Repeat([]byte("abcdefgh"), 2*mib)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			image, err := compress(t, tt.disk, Raw, int64(len(tt.disk)))
			if err != nil {
				t.Fatal(err)
			}
			keep(t, image, "qcow2", tt.disk)
			img, err := qcow2reader.Open(bytes.NewReader(image))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(tt.disk))
			if _, err := io.ReadFull(io.NewSectionReader(img, 0, img.Size()), got); err != nil || !bytes.Equal(got, tt.disk) {
				t.Errorf("another disk comes out: %v", err)
			}
			accepted(t, image, QCOW2, int64(len(tt.disk)))
		})
	}
}

func TestVMDKWriter(t *testing.T) {
	for _, tt := range []struct {
		name string
		disk []byte
	}{
		{"data here and there", holey(100 * mib)},
		{"nothing", make([]byte, 3*mib)},
		{"one byte at the end", append(make([]byte, 5*mib-1), 7)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := WriteVMDK(&out, bytes.NewReader(tt.disk), Raw, int64(len(tt.disk))); err != nil {
				t.Fatal(err)
			}
			keep(t, out.Bytes(), "vmdk", tt.disk)
			accepted(t, out.Bytes(), VMDK, int64(len(tt.disk)))
		})
	}
}

// keep writes an image and its disk to the folder WRITTEN_IMAGES, for a check by qemu-img.
func keep(t testing.TB, image []byte, suffix string, disk []byte) {
	t.Helper()
	dir := os.Getenv("WRITTEN_IMAGES")
	if dir == "" {
		return
	}
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '_'
		}
		return r
	}, t.Name())
	for path, content := range map[string][]byte{name + "." + suffix: image, name + "." + suffix + ".raw": disk} {
		if err := os.WriteFile(filepath.Join(dir, path), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// accepted checks that the checks for hostile images accept the images that this package writes.
func accepted(t testing.TB, image []byte, format Format, size int64) {
	t.Helper()
	img, got := mustRead(t, newOpener(t), Source{URL: serve(t, image), Format: string(format)})
	if img.VirtualBytes != size || !bytes.Equal(got, image) {
		t.Errorf("read as a disk of %d bytes, want %d", img.VirtualBytes, size)
	}
}

// qemu-img makes the qcow2 images of the NAS.
func TestWritersReadWhatQEMUWrites(t *testing.T) {
	image, disk := readFile(t, "real/v3.qcow2.xz"), readFile(t, "real/plain.raw.xz")
	image, disk = unpack(t, image), unpack(t, disk)
	fromRaw, err := compress(t, disk, Raw, int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	fromQCOW2, err := compress(t, image, QCOW2, int64(len(disk)))
	if err != nil || !bytes.Equal(fromRaw, fromQCOW2) {
		t.Errorf("qcow2 is made of a qcow2 other than of the disk: %v", err)
	}
	var one, other bytes.Buffer
	if err := WriteVMDK(&one, bytes.NewReader(disk), Raw, int64(len(disk))); err != nil {
		t.Fatal(err)
	}
	if err := WriteVMDK(&other, bytes.NewReader(image), QCOW2, int64(len(disk))); err != nil || !bytes.Equal(one.Bytes(), other.Bytes()) {
		t.Errorf("vmdk is made of a qcow2 other than of the disk: %v", err)
	}
}

// unpack decompresses xz.
func unpack(t testing.TB, packed []byte) []byte {
	t.Helper()
	_, content := mustRead(t, newOpener(t), Source{URL: serve(t, packed)})
	return content
}

func TestWritersRefuse(t *testing.T) {
	image := unpack(t, readFile(t, "real/v3.qcow2.xz"))
	const size = 4 * mib
	packed, err := compress(t, rawDisk(size), Raw, size)
	if err != nil {
		t.Fatal(err)
	}
	swapped := bytes.Clone(image) // the first two clusters of the disk are swapped
	number := func(at uint64) uint64 { return binary.BigEndian.Uint64(swapped[at:]) & qcow2OffsetMask }
	table := number(number(40))
	var used []uint64
	for at := table; at < table+pieceBytes && len(used) < 2; at += 8 {
		if number(at) != 0 {
			used = append(used, at)
		}
	}
	one, other := number(used[0]), number(used[1])
	binary.BigEndian.PutUint64(swapped[used[0]:], other)
	binary.BigEndian.PutUint64(swapped[used[1]:], one)
	for _, tt := range []struct {
		name   string
		image  []byte
		format Format
		kind   error
	}{
		{"half a raw disk", make([]byte, size/2), Raw, ErrLength},
		{"nothing", nil, QCOW2, ErrLength},
		{"half a qcow2", image[:len(image)/2], QCOW2, ErrLength},
		{"a qcow2 of another disk", append(bytes.Clone(image[:24]), append([]byte{0, 0, 1}, image[27:]...)...), QCOW2, ErrLength},
		{"compressed clusters", packed, QCOW2, ErrUnordered},
		{"the disk in another order", swapped, QCOW2, ErrUnordered},
		{"a qcow2 that is none", make([]byte, size), QCOW2, ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := WriteVMDK(io.Discard, bytes.NewReader(tt.image), tt.format, size)
			if !errors.Is(err, tt.kind) {
				t.Errorf("got %v, want %v", err, tt.kind)
			}
		})
	}
}

func TestDiskChangesWhileItIsWritten(t *testing.T) {
	plan, err := PlanQCOW2(bytes.NewReader(holey(2*mib)), Raw, 2*mib)
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string][]byte{"other data": rawDisk(2 * mib), "no data": make([]byte, 2*mib)} {
		if err := plan.WriteTo(io.Discard, bytes.NewReader(other), Raw); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
