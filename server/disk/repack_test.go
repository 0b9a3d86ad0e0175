package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"virtrigaud-provider-truenas/server/disk/disktest"
)

// repacked opens an image with Repack, and packs it.
func repacked(t testing.TB, content []byte, name string) Packed {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(web.Close)
	opener, err := New(Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	img, err := opener.Open(context.Background(), Source{URL: web.URL + "/" + name, Repack: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = img.Close() })
	p := img.Pack()
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// A fully allocated qcow2 is sent without its zeros, compressed or not, and qemu-img reads the same disk from it.
func TestZerosOfAQCOW2AreNotSent(t *testing.T) {
	const mibs, data = 64, 5
	disk := scattered(mibs, 0, 17, 18, 40, 63)
	full := disktest.QCOW2(mibs*mib, []disktest.Extent{{Offset: 0, Data: disk}}, false)
	for name, content := range map[string][]byte{"d.qcow2": full, "d.qcow2.gz": gzipped(t, full), "d.qcow2.zst": zstandard(t, full, true)} {
		t.Run(name, func(t *testing.T) {
			p := repacked(t, content, name)
			if p.Suffix != ".vmdk" {
				t.Fatalf("suffix %s", p.Suffix)
			}
			sent, err := io.ReadAll(p)
			if err != nil {
				t.Fatal(err)
			}
			if most := data * mib * 105 / 100; len(sent) > most {
				t.Errorf("%d bytes are sent for %d bytes of data; want at most %d", len(sent), data*mib, most)
			}
			sameDisk(t, sent, disk)
		})
	}
}

// A qcow2 that leaves out its zeros, or that cannot be read as a stream, is sent unchanged.
func TestOtherQCOW2AreSentUnchanged(t *testing.T) {
	disk := scattered(64, 0, 17)
	full := []disktest.Extent{{Offset: 0, Data: disk}}
	compressed := disktest.QCOW2(64*mib, full, false)
	compressed[4*pieceBytes] |= 0x40 // the first cluster of the first table
	for name, content := range map[string][]byte{
		"sparse.qcow2":     disktest.QCOW2(64*mib, []disktest.Extent{{Offset: 0, Data: disk[:mib]}, {Offset: 17 * mib, Data: disk[17*mib:][:mib]}}, false),
		"late.qcow2":       disktest.QCOW2(64*mib, full, true),
		"compressed.qcow2": compressed,
	} {
		t.Run(name, func(t *testing.T) {
			p := repacked(t, content, name)
			sent, err := io.ReadAll(p)
			if err != nil || p.Suffix != ".qcow2" || !bytes.Equal(sent, content) {
				t.Errorf("%d bytes are sent with suffix %s, %v; want the %d bytes of the file", len(sent), p.Suffix, err, len(content))
			}
		})
	}
}

// lateQCOW2 returns a file that turns out to be unordered after its first 3 MiB.
func lateQCOW2() []byte {
	disk := scattered(3, 0, 1, 2)
	return disktest.QCOW2(513*mib, []disktest.Extent{{Offset: 0, Data: disk}, {Offset: 512 * mib, Data: disk[:mib]}}, true)
}

// An image that turns out to be unordered in the middle returns ErrUnordered, and the vmdk has no end.
func TestRepackingFailsInTheMiddle(t *testing.T) {
	p := repacked(t, gzipped(t, lateQCOW2()), "d.qcow2.gz")
	sent, err := io.ReadAll(p)
	if !errors.Is(err, ErrUnordered) {
		t.Fatalf("got %v, want ErrUnordered", err)
	}
	if n := len(sent); n >= 1024 && string(sent[n-1024:n-1020]) == "KDMV" {
		t.Error("the incomplete vmdk has a footer")
	}
}

// The error of a broken source is returned, and the vmdk has no end.
func TestRepackingABrokenSource(t *testing.T) {
	disk := scattered(8, 0, 3)
	whole := gzipped(t, disktest.QCOW2(8*mib, []disktest.Extent{{Offset: 0, Data: disk}}, false))
	p := repacked(t, whole[:len(whole)-9], "d.qcow2.gz")
	sent, err := io.ReadAll(p)
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLength) {
		t.Fatalf("got %v, want ErrCorrupt or ErrLength", err)
	}
	if n := len(sent); n >= 1024 && string(sent[n-1024:n-1020]) == "KDMV" {
		t.Error("the incomplete vmdk has a footer")
	}
}

// Data that does not begin at a cluster boundary is refused, because qemu-img reads no such file.
func TestRepackingRefusesUnalignedData(t *testing.T) {
	disk := scattered(8, 0, 3)
	content := disktest.QCOW2(8*mib, []disktest.Extent{{Offset: 0, Data: disk}}, false)
	content[4*pieceBytes+8*20+6] |= 0x02 // cluster 20 is 512 bytes further
	p := repacked(t, content, "d.qcow2")
	if _, err := io.ReadAll(p); p.Suffix == ".vmdk" && !errors.Is(err, ErrCorrupt) {
		t.Errorf("sent as %s, %v; want an unchanged image, or ErrCorrupt", p.Suffix, err)
	}
}
