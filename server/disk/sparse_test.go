package disk

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zlib"
)

// scattered returns a disk of that many MiB with a boot sector, data here and there, and zeros between.
func scattered(mibs int, dataMiB ...int) []byte {
	disk := make([]byte, mibs*mib)
	random := rand.NewChaCha8([32]byte{1})
	for _, at := range dataMiB {
		_, _ = random.Read(disk[at*mib : (at+1)*mib])
	}
	copy(disk[510:], "\x55\xaa")
	return disk
}

// packed opens an image from a web server, and packs it.
func packed(t testing.TB, content []byte, name string) (*Image, Packed) {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(web.Close)
	opener, err := New(Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	img, err := opener.Open(context.Background(), Source{URL: web.URL + "/" + name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = img.Close() })
	return img, img.Pack()
}

// Zeros are not sent: the upload is at most 1.05 times the data, and qemu-img reads the same disk from it.
func TestOnlyDataIsSent(t *testing.T) {
	const mibs, data = 64, 5
	disk := scattered(mibs, 0, 17, 18, 40, 63)
	for _, tt := range []struct {
		name    string
		content []byte
	}{
		{"d.raw", disk},
		{"d.raw.gz", gzipped(t, disk)}, // The length is known at its end only.
		{"d.raw.zst", zstandard(t, disk, true)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, p := packed(t, tt.content, tt.name)
			if p.Suffix != ".vmdk" {
				t.Fatalf("suffix %s", p.Suffix)
			}
			sent, err := io.ReadAll(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if most := data * mib * 105 / 100; len(sent) > most {
				t.Errorf("%d bytes travel for %d bytes of data; want at most %d", len(sent), data*mib, most)
			}
			if img.VirtualBytes != mibs*mib {
				t.Errorf("the disk has %d bytes; want %d", img.VirtualBytes, mibs*mib)
			}
			sameDisk(t, sent, disk)
		})
	}
}

// sameDisk compares the contents of a vmdk with a disk, by this package's reader and, if it is installed, by qemu-img.
func sameDisk(t *testing.T, vmdk, want []byte) {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "d.vmdk"), filepath.Join(dir, "d.raw")
	if err := os.WriteFile(from, vmdk, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Log("qemu-img is not installed; the simulator's reader is used by the tests of the server")
		return
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "vmdk", "-O", "raw", from, to).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v %s", err, out)
	}
	got, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("qemu-img reads another disk of %d bytes; want %d", len(got), len(want))
	}
}

// A truncated image, or one with a wrong checksum, has no end: no reader accepts it as a complete disk.
func TestPackedImageOfABrokenSourceHasNoEnd(t *testing.T) {
	disk := scattered(8, 0, 3)
	whole := gzipped(t, disk)
	_, p := packed(t, whole[:len(whole)-9], "d.raw.gz")
	sent, err := io.ReadAll(p)
	if err == nil {
		t.Fatal("the last read of a broken image returned no error")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n := len(sent); n >= 1024 && string(sent[n-1024:n-1020]) == "KDMV" {
		t.Error("the incomplete vmdk has a footer")
	}
}

// A disk of zeros sends a byte now and then, because the NAS's web server ends silent uploads.
func TestZerosKeepTheConnectionAlive(t *testing.T) {
	var out bytes.Buffer
	v := &vmdkWriter{w: &out, sectors: sectorsOf(pieceBytes)}
	if err := v.open(1); err != nil {
		t.Fatal(err)
	}
	before := out.Len()
	pack := &sparseWriter{vmdk: v, last: time.Now()}
	zero := make([]byte, 4*pieceBytes)
	if _, err := pack.Write(zero); err != nil || out.Len() != before {
		t.Fatalf("zeros made %d bytes, %v", out.Len()-before, err)
	}
	pack.last = time.Now().Add(-keepAlive)
	if _, err := pack.Write(zero); err != nil || out.Len() == before {
		t.Fatalf("after %v of zeros nothing was sent, %v", keepAlive, err)
	}
	if err := pack.finish(); err != nil {
		t.Fatal(err)
	}
	sameDisk(t, out.Bytes(), make([]byte, 8*pieceBytes))
}

// BenchmarkPack measures the packing of a disk like Talos's: 1246 MiB with 140 MiB of data, at several levels of zlib. Such an
// image mostly has incompressible data.
func BenchmarkPack(b *testing.B) {
	at := make([]int, 140)
	for i := range at {
		at[i] = i * 8
	}
	random := scattered(1246, at...)
	text := bytes.Clone(random)
	for _, i := range at {
		copy(text[i*mib:], bytes.Repeat([]byte("the same words, one more time, with a number: 1234567890\n"), mib/57))
	}
	for _, disk := range []struct {
		name    string
		content []byte
	}{{"random", random}, {"text", text}} {
		for _, level := range []int{zlib.NoCompression, zlib.BestSpeed} {
			b.Run(fmt.Sprintf("%s/level%d", disk.name, level), func(b *testing.B) {
				b.SetBytes(int64(len(disk.content)))
				sent := 0
				for b.Loop() {
					sent = pack(b, disk.content, level)
				}
				b.ReportMetric(float64(sent)/float64(140*mib), "sent/data")
			})
		}
	}
}

// pack returns the packed size of a disk in bytes.
func pack(b *testing.B, disk []byte, level int) int {
	count := &counting{}
	v := &vmdkWriter{w: count, sectors: sectorsOf(int64(len(disk)))}
	if err := v.open(level); err != nil {
		b.Fatal(err)
	}
	pack := &sparseWriter{vmdk: v, last: time.Now()}
	if _, err := pack.Write(disk); err != nil {
		b.Fatal(err)
	}
	if err := pack.finish(); err != nil {
		b.Fatal(err)
	}
	return count.n
}

type counting struct{ n int }

func (c *counting) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }
