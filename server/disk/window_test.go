package disk

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"
)

// wideStreams were made of real/plain.raw by the zstd program, which got it through a pipe:
// zstd --long=27 (long), zstd --ultra -22 (ultra); and by xz -9 (window, 64 MiB).
var wideStreams = []string{"long.raw.zst", "ultra.raw.zst", "window.raw.xz"}

func TestWideWindows(t *testing.T) {
	disk := unxz(t, "real/plain.raw.xz")
	for _, name := range wideStreams {
		_, got := mustRead(t, newOpener(t), Source{URL: serve(t, readFile(t, "real/"+name))})
		if name != "window.raw.xz" && !bytes.Equal(got, disk) {
			t.Errorf("%s: got %d bytes", name, len(got))
		}
	}
	_, _, err := read(t, newOpener(t), Source{URL: serve(t, readFile(t, "real/toolong.raw.zst"))}) // zstd --long=28
	want(t, err, ErrUnsupported, "window of more than 134217728 bytes")
}

func TestWindowFollowsTheHeader(t *testing.T) {
	for _, tt := range []struct {
		file string
		kind Compression
		want int64
	}{
		{"real/long.raw.zst", Zstd, 128 * mib},
		{"real/ultra.raw.zst", Zstd, 128 * mib},
		{"real/toolong.raw.zst", Zstd, 256 * mib},
		{"real/window.raw.xz", XZ, 64 * mib},
		{"real/plain.raw.xz", XZ, 1 * mib},
		{"real/x86.raw.xz", XZ, 8 * mib},
	} {
		if got := windowOf(tt.kind, &head{r: bytes.NewReader(readFile(t, tt.file))}); got != tt.want {
			t.Errorf("%s: %d bytes, want %d", tt.file, got, tt.want)
		}
	}
}

// One image with a wide window is open at a time, and the others wait no longer than their callers.
func TestWideWindowsTakeTurns(t *testing.T) {
	o := newOpener(t)
	src := func(name string) Source { return Source{URL: serve(t, readFile(t, "real/"+name))} }
	first, err := o.Open(t.Context(), src("long.raw.zst"))
	if err != nil {
		t.Fatal(err)
	}
	mustRead(t, o, src("plain.raw.xz")) // a narrow one does not wait

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := o.Open(ctx, src("window.raw.xz")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second did not wait: %v", err)
	}
	second := make(chan error)
	go func() {
		img, err := o.Open(timeout(t), src("window.raw.xz"))
		if err == nil {
			err = img.Close()
		}
		second <- err
	}()
	first.Close()
	first.Close() // a repeated call is harmless
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// Data that stock tools ignore after a stream is ignored: zeros, and OpenWrt's appendix (fwtool -I metadata.json, which ends in
// "FWx0").
func TestDataAfterTheStream(t *testing.T) {
	disk := unxz(t, "real/plain.raw.xz")
	metadata := `{"metadata_version": "1.1", "supported_devices": ["generic"]}` + "\x00\x00\x00\x00FWx0\x12\x34\x56\x78\x01\x00\x00\x00\x00\x00\x00\x50"
	gz, bz := gzipped(t, disk), readFile(t, "real/small.raw.bz2")
	zeros := string(make([]byte, 2*mib))
	for _, tt := range []struct {
		name   string
		packed string
		disk   []byte // nil: it is refused
	}{
		{"OpenWrt's metadata", string(gz) + metadata, disk},
		{"zeros (dd conv=sync bs=1M)", string(gz) + zeros, disk},
		{"a byte", string(gz) + "x", disk},
		{"a member and zeros", string(gz) + string(gz) + zeros, append(bytes.Clone(disk), disk...)},
		{"zeros and metadata", string(gz) + zeros + metadata, disk},
		{"a damaged member after two", string(gz) + string(gz) + "\x1e" + string(gz[1:]), nil},
		{"more than a description", string(gz) + string(rawDisk(maxTrailing+1)), nil},
		{"half a member", string(gz) + string(gz[:len(gz)/2]), nil},
		{"zeros behind bzip2", string(bz) + zeros, rawDisk(4096)},
		{"text behind bzip2", string(bz) + metadata, rawDisk(4096)},
		{"half a bzip2 stream", string(bz) + string(bz[:len(bz)/2]), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := read(t, newOpener(t), Source{URL: serve(t, []byte(tt.packed)), Checksum: sha256Of([]byte(tt.packed))})
			if tt.disk == nil {
				want(t, err, ErrCorrupt)
				return
			}
			if err != nil || !bytes.Equal(got, tt.disk) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
}
