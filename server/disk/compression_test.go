package disk

import (
	"bytes"
	"io"
	"net/http"
	"testing"
)

func TestCompression(t *testing.T) {
	disk := unxz(t, "real/plain.raw.xz")
	packed := readFile(t, "real/plain.raw.xz")
	small := readFile(t, "real/small.raw.bz2") // rawDisk(4096), packed by a program that the tests lack
	x86, x86disk := readFile(t, "real/x86.raw.xz"), readFile(t, "real/x86.raw")
	padded := append(bytes.Clone(packed), 0, 0, 0, 0)
	for _, tt := range []struct {
		name          string
		packed        []byte
		kind          Compression
		disk          []byte
		virtual, most int64 // known after Open; the known minimum
	}{
		{"none", disk, Uncompressed, disk, realDisk, realDisk},
		{"xz", packed, XZ, disk, realDisk, realDisk},
		{"xz of two streams", append(bytes.Clone(padded), packed...), XZ, append(bytes.Clone(disk), disk...), 2 * realDisk, 2 * realDisk},
		{"xz with padding", padded, XZ, disk, realDisk, realDisk},
		{"xz with a filter for machine code", x86, XZ, x86disk, int64(len(x86disk)), int64(len(x86disk))},
		{"gzip", gzipped(t, disk), Gzip, disk, -1, 0},
		{"gzip of two members", append(gzipped(t, disk), gzipped(t, disk)...), Gzip, append(bytes.Clone(disk), disk...), -1, 0},
		{"zstd with its length", zstandard(t, disk, true), Zstd, disk, -1, realDisk},
		{"zstd that does not", zstandard(t, disk, false), Zstd, disk, -1, 0},
		{"zstd of two frames", append(zstandard(t, disk, true), zstandard(t, disk, true)...), Zstd, append(bytes.Clone(disk), disk...), -1, realDisk},
		{"zstd after a skippable frame", append([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc"), zstandard(t, disk, true)...), Zstd, disk, -1, 0},
		{"bzip2", small, Bzip2, rawDisk(4096), -1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := newOpener(t).Open(t.Context(), Source{URL: serve(t, tt.packed)})
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if img.Compression != tt.kind || img.VirtualBytes != tt.virtual || img.LeastBytes != tt.most {
				t.Errorf("compression %q, virtual size %d, at least %d", img.Compression, img.VirtualBytes, img.LeastBytes)
			}
			var got bytes.Buffer
			if _, err := img.WriteTo(&got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), tt.disk) || img.VirtualBytes != int64(len(tt.disk)) {
				t.Errorf("got %d bytes, virtual size %d, want %d", got.Len(), img.VirtualBytes, len(tt.disk))
			}
		})
	}
}

func TestXZWithoutRanges(t *testing.T) {
	packed := readFile(t, "real/plain.raw.xz")
	url := serveHandler(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(packed) })
	img, err := newOpener(t).Open(t.Context(), Source{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if img.VirtualBytes != -1 {
		t.Errorf("virtual size is %d before the first read", img.VirtualBytes)
	}
	if _, err := img.WriteTo(io.Discard); err != nil || img.VirtualBytes != realDisk {
		t.Errorf("virtual size is %d, error %v", img.VirtualBytes, err)
	}
}

func TestDamagedStreams(t *testing.T) {
	disk := rawDisk(mib)
	for name, packed := range map[string][]byte{
		"gz": gzipped(t, disk), "zst": zstandard(t, disk, true), "xz": readFile(t, "real/plain.raw.xz"),
	} {
		cut := packed[:len(packed)*2/3]
		_, _, err := read(t, newOpener(t), Source{URL: serve(t, cut)})
		want(t, err, ErrCorrupt, name+" stream ends early")

		bent := bytes.Clone(packed)
		for i := len(bent) / 2; i < len(bent)/2+8; i++ {
			bent[i] ^= 0x55
		}
		_, _, err = read(t, newOpener(t), Source{URL: serve(t, bent)})
		want(t, err, ErrCorrupt, name+" stream")
	}
}

func TestDecompressionBombs(t *testing.T) {
	// Each unpacks to 320 MiB of zeros.
	zst, sized := readFile(t, "hostile/unsized-bomb.raw.zst"), readFile(t, "hostile/bomb.raw.zst")
	bomb := readFile(t, "hostile/bomb.raw.xz")
	gz := gzipped(t, make([]byte, 8*mib))
	small := func(o *Options) { o.MaxVirtualBytes = 2 * mib }
	for _, tt := range []struct {
		name   string
		packed []byte
		change func(*Options)
		says   string
		early  bool // refused after the head
	}{
		{"by ratio", zst, func(*Options) {}, "1000-fold", false},
		{"by ratio, as the header says", sized, func(*Options) {}, "1000-fold", true},
		{"by ratio, as the index says", bomb, func(*Options) {}, "1000-fold", true},
		{"by size", zst, small, "the limit", false},
		{"by size, gzip", gz, small, "the limit", false},
		{"by size, as the header says", sized, small, "the limit", true},
		{"by size, as the index says", bomb, small, "the limit", true},
		{"by size, not compressed", rawDisk(3 * mib), small, "the limit", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := newOpener(t, tt.change).Open(t.Context(), Source{URL: serve(t, tt.packed)})
			if tt.early {
				want(t, err, ErrTooLarge, tt.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			n, err := img.WriteTo(&slowWriter{})
			want(t, err, ErrTooLarge, tt.says)
			if n > expansionGrace {
				t.Errorf("%d bytes were passed on", n)
			}
		})
	}
}

// A stream that needs more memory than permitted is refused.
func TestWindowTooLarge(t *testing.T) {
	packed := readFile(t, "real/plain.raw.xz")
	o := newOpener(t, func(o *Options) { o.MaxWindow = 64 * kib })
	_, err := o.Open(t.Context(), Source{URL: serve(t, packed)})
	want(t, err, ErrUnsupported, "window of more than 65536 bytes")

	wide := []byte("\x28\xb5\x2f\xfd\x04\xa8\x00\x00\x00") // a zstd frame with a window of 2 GiB
	_, err = newOpener(t).Open(t.Context(), Source{URL: serve(t, wide)})
	want(t, err, ErrUnsupported, "window of more than")
}

func TestXZIndexIsBoundedAndOptional(t *testing.T) {
	for name, file := range map[string][]byte{
		"nothing":         nil,
		"zeros":           make([]byte, 200*kib),
		"a footer only":   []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04YZ"),
		"an absurd index": []byte("\x00\x00\x00\x00\xff\xff\xff\xff\x00\x04YZ"),
	} {
		read := &readBytes{from: bytes.NewReader(file)}
		length, err := xzContent(read, int64(len(file)))
		if length != -1 || err != nil || read.n > len(file) {
			t.Errorf("%s: %d, %v after %d bytes of %d", name, length, err, read.n, len(file))
		}
	}
}

// readBytes counts the bytes that were read.
type readBytes struct {
	from io.ReaderAt
	n    int
}

func (r *readBytes) ReadAt(p []byte, at int64) (int, error) {
	r.n += len(p)
	return r.from.ReadAt(p, at)
}
