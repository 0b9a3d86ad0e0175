package disk

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mikelolasagasti/xz"
)

// unpair unpacks a file two blocks at a time, and reports whether it made pairs.
func unpair(file []byte) (content []byte, paired bool, err error) {
	var lock sync.Mutex
	d, err := newXZDecoder(bufio.NewReader(bytes.NewReader(file)), 64*mib, &lock)
	if err != nil {
		return nil, false, err
	}
	defer d.Close()
	content, err = io.ReadAll(d)
	return content, d.(*xzDecoder).spare != nil, err
}

func TestXZBlocks(t *testing.T) {
	one, blocks := readFile(t, "real/small.xz"), readFile(t, "real/blocks.raw.xz")
	wide, large := readFile(t, "real/wideblocks.raw.xz"), readFile(t, "real/largeblocks.raw.xz")
	padding := make([]byte, 8)
	for _, tt := range []struct {
		name   string
		file   []byte
		paired bool
	}{
		{"one block", one, false},
		{"several blocks", blocks, true},
		{"blocks of 24 MiB", large, true},
		{"blocks with a wide window", wide, true},
		{"two streams of blocks", slices.Concat(blocks, blocks), true},
		{"two streams of blocks with padding", slices.Concat(blocks, padding, blocks, padding), true},
		{"blocks, then a stream of one without a size", slices.Concat(blocks, padding, one, padding), true},
		{"a stream without a size, then blocks", slices.Concat(one, blocks), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reader, err := xz.NewReader(bytes.NewReader(tt.file), 0)
			if err != nil {
				t.Fatal(err)
			}
			want, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			got, paired, err := unpair(tt.file)
			if err != nil || paired != tt.paired || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, paired %t, %v; want %d bytes, %t", len(got), paired, err, len(want), tt.paired)
			}
		})
	}
}

// Every corruption or truncation of a file is detected, except for bytes that make no difference: a byte or two of a block have no
// meaning.
func TestXZBlocksAreVerified(t *testing.T) {
	file := readFile(t, "real/blocks.raw.xz")
	want, _, err := unpair(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file {
		if i > 400 && i < len(file)-200 && i%11 > 0 {
			continue // The middle has only data.
		}
		bent := bytes.Clone(file)
		bent[i] ^= 0x10
		got, _, err := unpair(bent)
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("byte %d of %d is corrupt without an error", i, len(file))
		}
		got, _, err = unpair(file[:i])
		if err == nil && i > 0 || !bytes.HasPrefix(want, got) {
			t.Errorf("cut at byte %d of %d: %d bytes, %v", i, len(file), len(got), err)
		}
	}
	if _, _, err := unpair(slices.Concat(file, []byte("rubbish"))); err == nil {
		t.Error("data other than xz follows without an error")
	}
}

// One image at a time takes the memory for pairs.
func TestXZPairsAreForOneImage(t *testing.T) {
	file := readFile(t, "real/blocks.raw.xz")
	var lock sync.Mutex
	open := func() *xzDecoder {
		d, err := newXZDecoder(bufio.NewReader(bytes.NewReader(file)), 64*mib, &lock)
		if err != nil {
			t.Fatal(err)
		}
		return d.(*xzDecoder)
	}
	first, second := open(), open()
	if _, err := io.CopyN(io.Discard, first, 1500); err != nil || !first.paired {
		t.Errorf("the first one makes pairs: %t, %v", first.paired, err)
	}
	if _, err := io.Copy(io.Discard, second); err != nil || second.paired {
		t.Errorf("the second one makes pairs: %t, %v", second.paired, err)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
	}
	third := open()
	if _, err := io.Copy(io.Discard, third); err != nil || !third.paired {
		t.Errorf("after it was closed, another one makes pairs: %t, %v", third.paired, err)
	}
}

// Implausible sizes in a header are not allocated.
func TestXZBlockSizesAreBounded(t *testing.T) {
	start := readFile(t, "real/blocks.raw.xz")[:xzHeaderBytes]
	for name, sizes := range map[string]string{
		"packed":   "\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01",
		"unpacked": "\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"endless":  strings.Repeat("\xff", 24),
		"nothing":  "\x00\x01",
	} {
		header := append([]byte{7, xzSizesFlags}, sizes...)
		file := slices.Concat(start, header, make([]byte, 64))
		if content, _, err := unpair(file); err == nil || len(content) > 0 {
			t.Errorf("%s: %d bytes, %v", name, len(content), err)
		}
	}
}

// Blocks of 24 MiB, the default of xz -T, are unpacked in pairs within the memory of any image.
func TestXZPairsAreBounded(t *testing.T) {
	url := serve(t, readFile(t, "real/largeblocks.raw.xz"))
	before := heap(t)
	img, err := newOpener(t, func(o *Options) { o.MaxExpansion = 1e6 }).Open(t.Context(), Source{URL: url, ChecksumType: "sha256"})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	peak := &peakWriter{}
	if n, err := img.WriteTo(peak); err != nil || n != 96*mib+64*kib {
		t.Fatalf("%d bytes, error %v", n, err)
	}
	if grown := int64(peak.most) - int64(before); grown > memoryLimit || grown < 24*mib {
		t.Errorf("the heap grew by %d MiB; it should be by more than a block and less than %d", grown/mib, memoryLimit/mib)
	}
}

// The unpacking of pairs returns the same as the library.
func FuzzXZBlocks(f *testing.F) {
	f.Add(readFile(f, "real/blocks.raw.xz"))
	f.Add(readFile(f, "real/small.xz"))
	f.Fuzz(func(t *testing.T, file []byte) {
		got, _, err := unpair(file)
		if err != nil {
			return
		}
		reader, err := xz.NewReader(bytes.NewReader(file), 0)
		if len(file) == 0 {
			return
		}
		if err != nil {
			t.Fatalf("%d bytes, and the library says %v", len(got), err)
		}
		if want, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes; the library has %d, %v", len(got), len(want), err)
		}
	})
}
