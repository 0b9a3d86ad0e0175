package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"virtrigaud-provider-truenas/server/disk"
)

// rawDisk is a small disk with a boot signature.
func rawDisk() []byte {
	content := make([]byte, 1<<20)
	content[510], content[511] = 0x55, 0xAA
	return content
}

func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "disk.raw", time.Time{}, bytes.NewReader(rawDisk()))
	}))
	defer server.Close()
	// Loopback is refused by default.
	opener, err := disk.New(disk.Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		log.Fatal(err)
	}
	img, err := opener.Open(context.Background(), disk.Source{URL: server.URL + "/disk.raw"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = img.Close() }()
	var volume bytes.Buffer
	n, err := img.WriteTo(&volume)
	fmt.Println(n, err)
	// Output: 1048576 <nil>
}

func ExampleOpener_Open() {
	dir, err := os.MkdirTemp("", "images")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(path, rawDisk(), 0o600); err != nil {
		log.Fatal(err)
	}
	opener, err := disk.New(disk.Options{FileRoots: []string{dir}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = opener.Open(context.Background(), disk.Source{URL: path, Format: "floppy"})
	fmt.Println(errors.Is(err, disk.ErrInvalid))
	// Output: true
}

func ExampleParseFormat() {
	format, err := disk.ParseFormat("IMG")
	fmt.Println(format, err)
	// Output: raw <nil>
}

func ExampleKey() {
	a, _ := disk.Key(disk.Source{URL: "https://example.org/disk.qcow2"})
	b, _ := disk.Key(disk.Source{URL: "https://user:secret@example.org/disk.qcow2"})
	fmt.Println(len(a), a == b)
	// Output: 40 true
}

func ExampleEveryPercent() {
	report := disk.EveryPercent(50, func(p disk.Progress) { fmt.Println(p.Done) })
	for done := int64(0); done <= 100; done += 10 {
		report(disk.Progress{Done: done, Total: 100})
	}
	// Output:
	// 50
	// 100
}
