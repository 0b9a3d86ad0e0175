// Package disktest gives tests the samples of package disk: in its testdata/real are images of one small disk, plain.raw, in
// every format, made by qemu-img and kept compressed.
package disktest

import (
	"io"
	"os"
	"testing"

	"github.com/mikelolasagasti/xz"
)

const maxDictionary = 64 << 20 // bytes

// Unpacked returns the decompressed content of an xz file.
func Unpacked(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := xz.NewReader(f, maxDictionary)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
