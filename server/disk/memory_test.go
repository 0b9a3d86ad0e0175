package disk

import (
	"io"
	"net/http"
	"runtime"
	"testing"
)

// memoryLimit is the memory for reading an image of any size.
const memoryLimit = 64 * mib

// Each path transfers twice the limit, and the test polls the heap.
func TestMemoryDoesNotGrowWithTheImage(t *testing.T) {
	packed := readFile(t, "real/plain.raw.xz")
	part := rawDisk(4 * mib)
	roomy := newOpener(t, func(o *Options) { o.MaxExpansion = 1e6 }) // the packed disks are mostly empty
	for _, tt := range []struct {
		name   string
		packed []byte // of 4 MiB
		limit  int64
	}{
		{"raw", part, memoryLimit},
		{"gzip", gzipped(t, part), memoryLimit},
		{"zstd", zstandard(t, part, true), memoryLimit},
		{"xz", packed, memoryLimit},
		{"zstd with the window of zstd -22", readFile(t, "real/ultra.raw.zst"), 128*mib + 32*mib},
		{"xz with the window of xz -9", readFile(t, "real/window.raw.xz"), 64*mib + 32*mib},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := serveHandler(t, func(w http.ResponseWriter, _ *http.Request) {
				for range 32 {
					if _, err := w.Write(tt.packed); err != nil {
						return
					}
				}
			})
			before := heap(t)
			img, err := roomy.Open(t.Context(), Source{URL: url, ChecksumType: "sha256"})
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			peak := &peakWriter{}
			n, err := img.WriteTo(peak)
			if err != nil || n != 128*mib {
				t.Fatalf("%d bytes, error %v", n, err)
			}
			if grown := int64(peak.most) - int64(before); grown > tt.limit {
				t.Errorf("the heap grew by %d MiB, the limit is %d", grown/mib, tt.limit/mib)
			}
		})
	}
}

// heap returns the bytes in use after a collection.
func heap(t *testing.T) uint64 {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// peakWriter measures the heap every 16 MiB.
type peakWriter struct {
	n, reported int64
	most        uint64
}

var _ io.Writer = (*peakWriter)(nil)

func (p *peakWriter) Write(b []byte) (int, error) {
	if p.n += int64(len(b)); p.n-p.reported >= 16*mib {
		p.reported = p.n
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		p.most = max(p.most, m.HeapInuse+m.StackInuse)
	}
	return len(b), nil
}
