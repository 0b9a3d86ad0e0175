package sim

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"virtrigaud-provider-truenas/server/disk/disktest"
)

// picture is a disk of a little more than 3 MiB: noise, a hole, and noise.
func picture() []byte {
	random := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 3<<20+512)
	for i := range p {
		if i < 100_000 || i > 2<<20 {
			p[i] = byte(random.UintN(256))
		}
	}
	return p
}

// compressedQcow2 makes an image of compressed clusters, as qemu-img convert -c does. Compression 0 is zlib and 1 is zstd.
func compressedQcow2(t *testing.T, disk []byte, compression byte) []byte {
	t.Helper()
	const cluster = 64 << 10
	n := (len(disk) + cluster - 1) / cluster
	out := make([]byte, 4*cluster)
	copy(out, "QFI\xfb")
	put32 := func(off int, v uint32) { binary.BigEndian.PutUint32(out[off:], v) }
	put64 := func(off int, v uint64) { binary.BigEndian.PutUint64(out[off:], v) }
	put32(4, 3)
	put32(20, 16)
	put64(24, uint64(len(disk)))
	put32(36, 1)
	put64(40, cluster)
	put64(48, 3*cluster)
	put32(56, 1)
	put64(72, uint64(compression)<<3) // Incompatible feature 3: the compression type is set.
	put32(96, 4)
	put32(100, 112)
	out[104] = compression
	put64(cluster, 2*cluster)
	for i := range n {
		page := make([]byte, cluster)
		copy(page, disk[i*cluster:])
		data := compressed(t, page, compression)
		at := uint64(len(out))
		sectors := (at%512 + uint64(len(data)) + 511) / 512
		put64(2*cluster+8*i, 1<<62|(sectors-1)<<54|at)
		out = append(out, data...)
	}
	return append(out, make([]byte, 512)...)
}

func compressed(t *testing.T, p []byte, compression byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	if compression == 0 {
		w, err = flate.NewWriter(&out, flate.DefaultCompression)
	} else {
		w, err = zstd.NewWriter(&out)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (n *direct) holds(volume string, want []byte) {
	n.t.Helper()
	got := make([]byte, len(want))
	if _, err := n.ReadVolume(volume, got, 0); err != nil {
		n.t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		n.t.Errorf("%s does not have the original content", volume)
	}
}

func TestConvert(t *testing.T) {
	disk := picture()
	for _, release := range []string{"25.10", "26", "27"} {
		for _, tt := range []struct {
			name, path string
			image      []byte
		}{
			{"raw", "/mnt/tank/disk.raw", disk},
			{"qcow2 with zlib", "/mnt/tank/disk.qcow2", compressedQcow2(t, disk, 0)},
			{"qcow2 with zstd", "/mnt/tank/disk.qcow2", compressedQcow2(t, disk, 1)},
		} {
			t.Run(release+" "+tt.name, func(t *testing.T) {
				n := newDirect(t, release)
				if err := n.WriteFile(tt.path, tt.image); err != nil {
					t.Fatal(err)
				}
				n.volume("tank/v", 16<<20, nil)
				if _, err := n.WriteVolume("tank/v", bytes.Repeat([]byte("old"), 1<<20), 0); err != nil {
					t.Fatal(err)
				}
				n.must(nil, "vm.device.convert", object{"source": tt.path, "destination": "/dev/zvol/tank/v"})
				n.holds("tank/v", disk)
				for _, format := range []string{"raw", "qcow2"} {
					out := "/mnt/tank/export." + format
					n.must(nil, "vm.device.convert", object{"source": "/dev/zvol/tank/v", "destination": out})
					n.fails(eEXIST, "already exists", "vm.device.convert", object{"source": "/dev/zvol/tank/v", "destination": out})
					var size int64
					n.must(&size, "vm.device.virtual_size", object{"path": out})
					if size != 16<<20 {
						t.Errorf("the exported %s has %d bytes", format, size)
					}
					n.volume("tank/w"+format+"x", 16<<20, nil)
					n.must(nil, "vm.device.convert", object{"source": out, "destination": "/dev/zvol/tank/w" + format + "x"})
					n.holds("tank/w"+format+"x", disk)
				}
			})
		}
	}
}

// The samples were made by qemu-img, from one disk.
func TestConvertOtherFormats(t *testing.T) {
	disk := sample(t, "plain.raw")
	for name, suffix := range map[string]string{
		"dynamic.vdi": "vdi", "static.vdi": "vdi", "dynamic.vhdx": "vhdx", "monolithicSparse.vmdk": "vmdk", "streamOptimized.vmdk": "vmdk",
	} {
		t.Run(name, func(t *testing.T) {
			n := newDirect(t, "26")
			image := "/mnt/tank/disk." + suffix
			if err := n.WriteFile(image, sample(t, name)); err != nil {
				t.Fatal(err)
			}
			n.volume("tank/v", 8<<20, nil)
			n.must(nil, "vm.device.convert", object{"source": image, "destination": "/dev/zvol/tank/v"})
			n.holds("tank/v", disk)
			var size int64
			n.must(&size, "vm.device.virtual_size", object{"path": image})
			if size != int64(len(disk)) {
				t.Errorf("the disk has %d bytes", size)
			}
		})
	}
}

func sample(t *testing.T, name string) []byte {
	t.Helper()
	return disktest.Unpacked(t, filepath.Join("..", "..", "server", "disk", "testdata", "real", name+".xz"))
}

func TestConvertRefusals(t *testing.T) {
	n := newDirect(t, "25.10")
	disk := picture()
	if err := n.WriteFile("/mnt/tank/disk.raw", disk); err != nil {
		t.Fatal(err)
	}
	n.volume("tank/small", 1<<20, nil)
	n.volume("tank/fine", 4<<20, nil)
	n.volume("tank/myraw", 4<<20, nil)
	n.volume("tank/used", 4<<20, nil)
	n.volume("tank/added", 4<<20, nil)
	id := n.newVM("one", nil)
	n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/used"})
	n.must(nil, "vm.start", id)
	n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/added"})
	for _, tt := range []struct {
		name, source, destination string
		errno                     int
		words                     string
	}{
		{"two images", "/mnt/tank/disk.raw", "/mnt/tank/disk.qcow2", eINVAL, "One path must be a disk image and the other must be a ZFS volume"},
		{"two volumes", "/dev/zvol/tank/small", "/dev/zvol/tank/fine", eINVAL, "One path must be a disk image and the other must be a ZFS volume"},
		{"a volume with the suffix of an image", "/mnt/tank/disk.raw", "/dev/zvol/tank/myraw", eINVAL, "One path must be a disk image and the other must be a ZFS volume"},
		{"a missing image", "/mnt/tank/no.raw", "/dev/zvol/tank/fine", eNOENT, "does not exist"},
		{"an image outside of the pools", "/tmp/no.raw", "/dev/zvol/tank/fine", eINVAL, "invalid location"},
		{"a missing volume", "/mnt/tank/disk.raw", "/dev/zvol/tank/no", eNOENT, "zfs.resource.query: 'tank/no': not found"},
		{"a too small volume", "/mnt/tank/disk.raw", "/dev/zvol/tank/small", eNOSPC, "tank/small too small (~1G). Minimum size must be 1G"},
		{"a volume of a running machine", "/mnt/tank/disk.raw", "/dev/zvol/tank/used", eBUSY, "'one' must be stopped first"},
		{"a volume that was added to a running machine", "/mnt/tank/disk.raw", "/dev/zvol/tank/added", eBUSY, "'one' must be stopped first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			n.fails(tt.errno, tt.words, "vm.device.convert", object{"source": tt.source, "destination": tt.destination})
		})
	}
}

func TestImportDiskImageCutsOffSilently(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10"} {
		n := newDirect(t, release)
		disk := picture()
		if err := n.WriteFile("/mnt/tank/disk.raw", disk); err != nil {
			t.Fatal(err)
		}
		n.volume("tank/small", 1<<20, nil)
		n.must(nil, "vm.import_disk_image", object{"diskimg": "/mnt/tank/disk.raw", "zvol": "tank/small"})
		n.holds("tank/small", disk[:1<<20])
		n.fails(eNOENT, "zvol tank/no does not exist.", "vm.import_disk_image", object{"diskimg": "/mnt/tank/disk.raw", "zvol": "tank/no"})
		n.must(nil, "vm.export_disk_image", object{"format": "raw", "directory": "/mnt/tank", "zvol": "tank/small"})
		if p, err := n.File("/mnt/tank/vmdisk-small.raw"); err != nil || !bytes.Equal(p, disk[:1<<20]) {
			t.Errorf("%s: the export has other content, %v", release, err)
		}
	}
}

// Rule 17: every failure of qemu-img is EPERM. Only the text describes the cause.
func TestFailedConversionIsEPERM(t *testing.T) {
	for _, release := range []string{"25.10", "26", "27"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.must(nil, "pool.dataset.create", object{"name": "tank/q", "quota": 1 << 30})
			n.volume("tank/q/v", 1<<29, object{"refreservation": 1<<30 - 1<<20, "force_size": true})
			if _, err := n.WriteVolume("tank/q/v", picture(), 0); err != nil {
				t.Fatal(err)
			}
			n.fails(ePERM, "qemu-img convert failed: qemu-img: error while writing at byte 0: No space left on device", "vm.device.convert", object{"source": "tank/q/v", "destination": "/mnt/tank/q/x.raw"})
		})
	}
}
