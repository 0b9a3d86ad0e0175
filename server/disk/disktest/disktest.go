// Package disktest gives tests the samples of package disk: in its testdata/real are images of one small disk, plain.raw, in
// every format, made by qemu-img and kept compressed.
package disktest

import (
	"bytes"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/mikelolasagasti/xz"
)

const maxDictionary = 64 << 20 // bytes

// unpacked caches the samples that tests have requested, by path.
var unpacked sync.Map

// Unpacked returns the decompressed content of an xz file, as a copy for the caller.
func Unpacked(t testing.TB, path string) []byte {
	t.Helper()
	once, _ := unpacked.LoadOrStore(path, sync.OnceValues(func() ([]byte, error) { return unpack(path) }))
	content, err := once.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(content)
}

func unpack(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // It was read.
	r, err := xz.NewReader(f, maxDictionary)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
