package xz

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	other "github.com/mikelolasagasti/xz"
)

// file reads from testdata. All .xz files there were made by the xz program, most of them from the file "content".
func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unpack reads all of a file.
func unpack(packed []byte) ([]byte, error) {
	z, err := NewReader(bytes.NewReader(packed), 64<<20)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func TestFilesOfTheProgram(t *testing.T) {
	content := file(t, "content")
	twice := append(bytes.Clone(content), content...)
	for _, tt := range []struct {
		name string
		want []byte
	}{
		{"default.xz", content},
		{"fast.xz", content},
		{"nine.xz", content},
		{"nocheck.xz", content},
		{"crc32.xz", content},
		{"sha256.xz", content},
		{"blocks.xz", content},
		{"threaded.xz", content},
		{"smalldict.xz", content},
		{"oddprops.xz", content},
		{"stored.xz", file(t, "stored")},
		{"twostreams.xz", twice},
		{"padded.xz", twice},
		{"empty.xz", []byte{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			packed := file(t, tt.name)
			got, err := unpack(packed)
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("%d bytes, error %v", len(got), err)
			}
			z, err := NewReader(iotest.OneByteReader(bytes.NewReader(packed)), 64<<20)
			if err != nil {
				t.Fatal(err)
			}
			got, err = io.ReadAll(iotest.OneByteReader(z))
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("byte by byte: %d bytes, error %v", len(got), err)
			}
			if !Handles(packed[:min(len(packed), 1024)]) {
				t.Error("claims not to handle it")
			}
		})
	}
}

func TestOtherFilters(t *testing.T) {
	for _, name := range []string{"x86.xz", "delta.xz"} {
		packed := file(t, name)
		if _, err := unpack(packed); !errors.Is(err, ErrUnsupported) || Handles(packed[:1024]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDictionaryLimit(t *testing.T) {
	if _, err := NewReader(bytes.NewReader(file(t, "nine.xz")), 64<<20-1); !errors.Is(err, ErrMemory) {
		t.Errorf("got %v", err)
	}
}

// More than fits behind the dictionary makes it move.
func TestLongFile(t *testing.T) {
	var want bytes.Buffer
	for i := range 200 {
		want.Write(file(t, "content"))
		fmt.Fprintf(&want, "part %d\n", i+1)
	}
	got, err := unpack(file(t, "long.xz"))
	if err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
}

// A file that is cut off anywhere is not taken for a whole one.
func TestCutOff(t *testing.T) {
	for _, name := range []string{"blocks.xz", "sha256.xz", "empty.xz", "stored.xz"} {
		packed := file(t, name)
		for n := 0; n < len(packed); n += 1 + len(packed)/500 {
			_, err := unpack(packed[:n])
			if !errors.Is(err, ErrCorrupt) || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s after %d of %d bytes: %v", name, n, len(packed), err)
			}
		}
	}
}

// A bit that is wrong anywhere is noticed, even where there is no check of the content: but then only in the headers.
func TestWrongBits(t *testing.T) {
	for _, name := range []string{"blocks.xz", "sha256.xz", "crc32.xz", "padded.xz", "stored.xz"} {
		packed := file(t, name)
		whole, err := unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(packed); i += 1 + len(packed)/400 {
			bent := bytes.Clone(packed)
			bent[i] ^= 1 << (i % 8)
			if got, err := unpack(bent); err == nil && !bytes.Equal(got, whole) {
				t.Errorf("%s: a wrong bit in byte %d goes unnoticed", name, i)
			} else if err == nil {
				t.Errorf("%s: a wrong bit in byte %d changes nothing", name, i)
			}
		}
	}
}

func TestReaderThatFails(t *testing.T) {
	broken := errors.New("line down")
	packed := file(t, "default.xz")
	z, err := NewReader(io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), iotest.ErrReader(broken)), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(z); !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

// Whatever another decoder accepts, this one reads the same way.
func FuzzAgainstAnotherDecoder(f *testing.F) {
	for _, name := range []string{"blocks.xz", "fast.xz", "smalldict.xz", "oddprops.xz", "padded.xz", "empty.xz", "stored.xz", "nocheck.xz"} {
		f.Add(file(f, name))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		z, err := NewReader(bytes.NewReader(packed), 1<<20)
		if err != nil {
			return
		}
		const most = 4 << 20
		got, err := io.ReadAll(io.LimitReader(z, most))
		reference, newErr := other.NewReader(bytes.NewReader(packed), 1<<20)
		if newErr != nil {
			return
		}
		want, wantErr := io.ReadAll(io.LimitReader(reference, most))
		if err == nil && wantErr == nil && !bytes.Equal(got, want) {
			t.Errorf("%d bytes, the other decoder reads %d", len(got), len(want))
		}
		if (err == nil) != (wantErr == nil) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("error %v, the other decoder has %v", err, wantErr)
		}
	})
}
