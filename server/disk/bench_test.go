package disk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// benchmarkDisk is the size of the benchmarks' disks, in bytes.
const benchmarkDisk = 64 * mib

// likeADisk returns content that compresses about as an operating system does: the running program, which is real machine code,
// with noise and holes.
func likeADisk(b *testing.B) []byte {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		b.Fatal(err)
	}
	noise := rand.NewChaCha8([32]byte{})
	disk := make([]byte, mib, benchmarkDisk) // a disk does not begin with a program
	for len(disk) < benchmarkDisk {
		part := append(bytes.Clone(program), make([]byte, 4*mib)...)
		noise.Read(part[len(program):][:mib])
		disk = append(disk, part...)
	}
	return disk[:benchmarkDisk]
}

// BenchmarkZstd reads a raw.zst over http, and decompresses the same file with the zstd program. The reported percentage is the
// decoder's speed relative to the program's, here and in the benchmarks below.
func BenchmarkZstd(b *testing.B) {
	file, url := packedDisk(b, bytes.Repeat(likeADisk(b), 3), ".zst", "zstd", "-q", "-3")
	compare(b, 3*benchmarkDisk, func() { discard(b, Source{URL: url}) }, func() { unpackedBy(b, "zstd", "-q", "-dc", file) })
}

// BenchmarkGzip is the same with a raw.gz and the gzip program.
func BenchmarkGzip(b *testing.B) {
	file, url := packedDisk(b, likeADisk(b), ".gz", "gzip", "-k")
	compare(b, benchmarkDisk, func() { discard(b, Source{URL: url}) }, func() { unpackedBy(b, "gzip", "-dc", file) })
}

// BenchmarkXZ is the same with a raw.xz of one block and the xz program.
func BenchmarkXZ(b *testing.B) {
	file, url := packedDisk(b, likeADisk(b), ".xz", "xz", "-T1", "-3")
	compare(b, benchmarkDisk,
		func() { discard(b, Source{URL: url, ChecksumType: "sha256"}) },
		func() { unpackedBy(b, "xz", "-dc", "-T1", file) })
}

// BenchmarkXZBlocks is the same with a raw.xz of several blocks, as xz -T makes it.
func BenchmarkXZBlocks(b *testing.B) {
	file, url := packedDisk(b, bytes.Repeat(likeADisk(b), 3), ".xz", "xz", "-T2", "-3")
	ours := func() { discard(b, Source{URL: url, ChecksumType: "sha256"}) }
	for _, threads := range []string{"-T1", "-T2"} {
		b.Run("xz "+threads, func(b *testing.B) {
			compare(b, 3*benchmarkDisk, ours, func() { unpackedBy(b, "xz", "-dc", threads, file) })
		})
	}
}

// packedDisk compresses a disk with a program to a file with a suffix, and serves it. It skips the benchmark if the program is not
// installed.
func packedDisk(b *testing.B, disk []byte, suffix string, program ...string) (file, url string) {
	b.Helper()
	if _, err := exec.LookPath(program[0]); err != nil {
		b.Skipf("the program %s is not installed, and there is nothing to compare with", program[0])
	}
	file = filepath.Join(b.TempDir(), "disk.raw")
	if err := os.WriteFile(file, disk, 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command(program[0], append(program[1:], file)...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", program[0], err, out)
	}
	packed, err := os.ReadFile(file + suffix)
	if err != nil {
		b.Fatal(err)
	}
	return file + suffix, serve(b, packed)
}

// unpackedBy reads the output of a program.
func unpackedBy(b *testing.B, program ...string) {
	b.Helper()
	cmd := exec.Command(program[0], program[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPassThrough reads a qcow2 over http, and copies the same bytes plainly.
func BenchmarkPassThrough(b *testing.B) {
	url := serve(b, append(newQCOW2(func([]byte) {}), likeADisk(b)...))
	compare(b, benchmarkDisk,
		func() { discard(b, Source{URL: url}) },
		func() { download(b, url, &slowWriter{}) })
}

// BenchmarkPassThroughVerified is the same with a checksum, which the plain copy computes as well.
func BenchmarkPassThroughVerified(b *testing.B) {
	url := serve(b, append(newQCOW2(func([]byte) {}), likeADisk(b)...))
	compare(b, benchmarkDisk,
		func() { discard(b, Source{URL: url, ChecksumType: "sha256"}) },
		func() { download(b, url, sha256.New()) })
}

// download is the plain copy for the comparison.
func download(b *testing.B, url string, w io.Writer) {
	b.Helper()
	resp, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		b.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// slowWriter receives bytes one call at a time, as a connection does: io.Copy would bypass the calls otherwise.
type slowWriter struct{ n int64 }

func (s *slowWriter) Write(p []byte) (int, error) {
	s.n += int64(len(p))
	return len(p), nil
}

// discard reads an image to its end.
func discard(b *testing.B, src Source) {
	b.Helper()
	o := newOpener(b)
	img, err := o.Open(context.Background(), src)
	if err != nil {
		b.Fatal(err)
	}
	defer img.Close()
	if _, err := img.WriteTo(&slowWriter{}); err != nil {
		b.Fatal(err)
	}
}

// compare runs both in turn on size bytes, and reports the speed of ours and its share of the speed of theirs. The best run of each
// counts, because other processes use the machine, too.
func compare(b *testing.B, size int, ours, theirs func()) {
	b.Helper()
	best := [2]time.Duration{time.Hour, time.Hour}
	for b.Loop() {
		for i, run := range []func(){ours, theirs} {
			runtime.GC()
			start := time.Now()
			run()
			best[i] = min(best[i], time.Since(start))
		}
	}
	b.ReportMetric(float64(size)/mib/best[0].Seconds(), "MiB/s")
	b.ReportMetric(100*best[1].Seconds()/best[0].Seconds(), "%_of_reference")
	b.ReportMetric(0, "ns/op")
}
