package disk

import (
	"bytes"
	"io"
	"testing"

	"github.com/lima-vm/go-qcow2reader"
)

// dynamicVHDFile returns a dynamic VHD with a change.
func dynamicVHDFile(t *testing.T, change func(b []byte)) []byte {
	t.Helper()
	return spoiled(t, "dynamic.vhd", change)
}

// The files were made by QEMU:
//
//	qemu-img convert -O vpc -o subformat=dynamic,force_size=on plain.raw dynamic.vhd
//	qemu-img create -f vpc -o subformat=dynamic,force_size=on scattered.vhd 9M
//	qemu-io -f vpc -c 'write -P 0x11 6M 64k' -c 'write -P 0x22 1M 128k' -c 'write -P 0x33 9212k 4k' scattered.vhd
//	qemu-img convert -f vpc -O raw scattered.vhd scattered.raw
func TestDynamicVHDBecomesQCOW2(t *testing.T) {
	for name, raw := range map[string][]byte{"dynamic": unxz(t, "real/plain.raw.xz"), "scattered": unxz(t, "real/scattered.raw.xz")} {
		vhd := unxz(t, "real/"+name+".vhd.xz")
		for how, packed := range map[string][]byte{
			"plain": vhd, "gz": gzipped(t, vhd), "tar": archive(t, "disk.vhd", string(vhd), "readme", "hi"),
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				for _, format := range []string{"", "vhd"} {
					img, got := mustRead(t, newOpener(t), Source{URL: serve(t, packed), Format: format, Checksum: sha256Of(packed)})
					if img.Format != QCOW2 || img.Suffix() != ".qcow2" || img.VirtualBytes != int64(len(raw)) || img.Bytes != int64(len(got)) {
						t.Errorf("got %s of %d bytes, %d were foreseen, a disk of %d", img.Format, len(got), img.Bytes, img.VirtualBytes)
					}
					if disk := unpackedQCOW2(t, got); !bytes.Equal(disk, raw) {
						t.Error("the disk differs")
					}
				}
			})
		}
	}
}

// unpackedQCOW2 returns the disk in a qcow2, as another reader finds it.
func unpackedQCOW2(t *testing.T, content []byte) []byte {
	t.Helper()
	other, err := qcow2reader.Open(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	disk := make([]byte, other.Size())
	if _, err := other.ReadAt(disk, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return disk
}

func TestTruncatedDynamicVHD(t *testing.T) {
	vhd := unxz(t, "real/dynamic.vhd.xz")
	for name, cut := range map[string][]byte{
		"without its footer": vhd[:len(vhd)-sectorBytes],
		"half":               vhd[:len(vhd)/2],
		"another footer":     changed(vhd, func(b []byte) { b[len(b)-100] ^= 1 }),
	} {
		for _, served := range [][]byte{cut, gzipped(t, cut)} {
			_, _, err := read(t, newOpener(t), Source{URL: serve(t, served)})
			want(t, err, ErrLength, "cut short")
			t.Log(name, err)
		}
	}
}

// Tables of disks of all sizes pass the checks for foreign tables, and agree with their own length.
func TestQCOW2Tables(t *testing.T) {
	for _, tt := range []struct {
		size, cluster int64
		data          []int64
	}{
		{sectorBytes, 512 * kib, nil},
		{mib, 4 * kib, []int64{255, 0, 17}},
		{3*gib + sectorBytes, 4 * kib, []int64{3 * gib / (4 * kib), 1}},
		{2 * tib, 2 * mib, []int64{mib - 1, 5, 300_000}},
		{2 * tib, 512 * kib, []int64{4*mib - 1}},
	} {
		tables := layOut(tt.size, tt.cluster, tt.data)
		written, err := io.ReadAll(&tables)
		if err != nil || int64(len(written)) != tables.bytes() {
			t.Fatalf("%d bytes were written, %d announced: %v", len(written), tables.bytes(), err)
		}
		s, err := inspectQCOW2(&head{r: bytes.NewReader(written)})
		if err != nil || s.virtual != tt.size || s.least > tables.bytes()+int64(len(tt.data))*tt.cluster {
			t.Errorf("%d bytes in clusters of %d: %+v, %v", tt.size, tt.cluster, s, err)
		}
	}
}

func FuzzDynamicVHD(f *testing.F) {
	for _, name := range []string{"dynamic", "scattered"} {
		f.Add(unxz(f, "real/"+name+".vhd.xz")[:8*kib])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) >= sectorBytes {
			content = bytes.Clone(content)
			be.PutUint32(content[64:], vhdChecksum(content[:sectorBytes]))
		}
		d, err := readDynamicVHD(&head{r: bytes.NewReader(content)}, 2*tib)
		if err != nil {
			return
		}
		if d.size <= 0 || d.bytes() <= 0 || int64(len(d.blocks))*d.block > d.size+d.block {
			t.Errorf("%d blocks of a disk of %d bytes, %d bytes of qcow2", len(d.blocks), d.size, d.bytes())
		}
	})
}
