package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"virtrigaud-provider-truenas/server/disk/disktest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// loopback lets tests reach their own servers.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// newOpener returns an Opener for tests: loopback is allowed, and waits are short.
func newOpener(t testing.TB, change ...func(*Options)) *Opener {
	t.Helper()
	opts := Options{
		AllowAddresses: loopback,
		Retry:          RetryPolicy{Attempts: 3, MinWait: time.Millisecond, MaxWait: 5 * time.Millisecond},
		StallTimeout:   5 * time.Second,
	}
	for _, c := range change {
		c(&opts)
	}
	o, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// serve serves content at any path, with ranges and an entity tag.
func serve(t testing.TB, content []byte) string {
	t.Helper()
	return serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

// serveHandler serves a handler at any path.
func serveHandler(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL + "/image"
}

// read opens an image and reads all of it.
func read(t testing.TB, o *Opener, src Source) (*Image, []byte, error) {
	t.Helper()
	img, err := o.Open(t.Context(), src)
	if err != nil {
		return nil, nil, err
	}
	defer img.Close()
	var out bytes.Buffer
	foreseen := img.Bytes
	n, err := img.WriteTo(&out)
	if err == nil && foreseen >= 0 && foreseen != n {
		t.Errorf("%d bytes were foreseen, %d were written", foreseen, n)
	}
	if n != int64(out.Len()) {
		t.Errorf("WriteTo reports %d bytes, and wrote %d", n, out.Len())
	}
	return img, out.Bytes(), err
}

// mustRead is read for an image that has to succeed.
func mustRead(t testing.TB, o *Opener, src Source) (*Image, []byte) {
	t.Helper()
	img, content, err := read(t, o, src)
	if err != nil {
		t.Fatal(err)
	}
	return img, content
}

// readFile returns a file of testdata.
func readFile(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// unxz returns a decompressed file of testdata.
func unxz(t testing.TB, name string) []byte {
	t.Helper()
	return disktest.Unpacked(t, filepath.Join("testdata", name))
}

// gzipped packs content.
func gzipped(t testing.TB, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zstandard packs content; sized puts its length into the frame header.
func zstandard(t testing.TB, content []byte, sized bool) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if sized {
		return w.EncodeAll(content, nil)
	}
	var out bytes.Buffer
	w.Reset(&out)
	for part := range slices.Chunk(content, 1000) { // in pieces, so that the length is not known beforehand
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// rawDisk returns n bytes that resemble no format, not even text, and do not compress well.
func rawDisk(n int) []byte {
	var out bytes.Buffer
	for i := 0; out.Len() < n; i++ {
		fmt.Fprintf(&out, "sector %08x of a raw disk\x00", i*2654435761)
	}
	return out.Bytes()[:n]
}

// want fails the test unless err has this kind and contains each of the words.
func want(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error is %v, want %v", err, kind)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error is %q, want it to mention %q", err, word)
		}
	}
}

// timeout returns a context for a call that must not hang.
func timeout(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
