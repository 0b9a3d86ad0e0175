package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// wideZstd is a stream of 40 MiB whose decoder takes a window of 32 MiB.
func wideZstd(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(32*mib), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, bytes.NewReader(rawDisk(40*mib))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// liveHeap returns the memory of the objects that a collection has found reachable. Unlike the memory in use it excludes the
// garbage since the collection, of which there is much on a busy machine.
func liveHeap() int64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// peakHeap polls the live heap until stop is called.
func peakHeap() (stop func() int64) {
	done, most := make(chan struct{}), make(chan int64)
	go func() {
		var peak int64
		for {
			peak = max(peak, liveHeap())
			select {
			case <-done:
				most <- peak
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(done); return <-most }
}

// TestManyImagesStayInMemory reads 24 images at once, which without a bound take 24 windows of 32 MiB.
func TestManyImagesStayInMemory(t *testing.T) {
	const limit = 128 * mib
	url := serve(t, wideZstd(t))
	o := newOpener(t, func(opts *Options) { opts.MaxMemory = limit })
	before := liveHeap()
	stop := peakHeap()
	var waited sync.Map
	var all sync.WaitGroup
	for i := range 24 {
		all.Go(func() {
			img, err := o.Open(t.Context(), Source{URL: url, Progress: func(p Progress) {
				if p.Waiting {
					waited.Store(i, p.String())
				}
			}})
			if err != nil {
				t.Error(err)
				return
			}
			defer img.Close()
			if n, err := img.WriteTo(io.Discard); err != nil || n != 40*mib {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
	all.Wait()
	grown := stop() - before
	t.Logf("the heap grew by %d MiB", grown/mib)
	if grown > limit+16*mib {
		t.Errorf("the heap grew by %d MiB, the limit is %d", grown/mib, limit/mib)
	}
	n := 0
	waited.Range(func(_, _ any) bool { n++; return true })
	if n < 12 {
		t.Errorf("%d of 24 images reported a wait", n)
	}
	if o.memory.used != 0 || len(o.memory.queue) != 0 {
		t.Errorf("%d bytes are still taken, and %d wait", o.memory.used, len(o.memory.queue))
	}
}

func TestMemoryIsServedInOrder(t *testing.T) {
	m := newMemory(100)
	first := m.enter()
	if err := first.wait(t.Context(), 80, func(int) { t.Error("the first waits") }); err != nil {
		t.Fatal(err)
	}
	// The second transfer needs more than is left; the others would fit and must not overtake it.
	var mu sync.Mutex
	var order []int
	var all sync.WaitGroup
	reports := make([]chan int, 3)
	for i, bytes := range []int64{60, 10, 10} {
		r := m.enter()
		reports[i] = make(chan int, 10)
		all.Go(func() {
			if err := r.wait(t.Context(), bytes, func(before int) { reports[i] <- before }); err != nil {
				t.Error(err)
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			r.release()
		})
		if before := <-reports[i]; before != i {
			t.Errorf("%d are before number %d", before, i)
		}
	}
	first.release()
	all.Wait()
	if m.used != 0 || len(order) != 3 {
		t.Errorf("%d bytes are taken after %v", m.used, order)
	}
}

func TestMemoryOfACanceledTransfer(t *testing.T) {
	m := newMemory(100)
	first, second, third := m.enter(), m.enter(), m.enter()
	if err := first.wait(t.Context(), 60, func(int) {}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone := errors.New("gone")
	err := second.wait(ctx, 60, func(int) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled caller: %v (%v)", err, gone)
	}
	if err := third.wait(t.Context(), 40, func(int) { t.Error("waits behind one that is gone") }); err != nil {
		t.Fatal(err)
	}
	first.release()
	first.release()
	third.release()
	if m.used != 0 {
		t.Errorf("%d bytes are taken", m.used)
	}
}

// TestLateMemoryClaims: two transfers discover at the same time that they need more memory than is left. The one that has to
// start again keeps its place, and neither waits for the other forever.
func TestLateMemoryClaims(t *testing.T) {
	m := newMemory(100)
	a, b := m.enter(), m.enter()
	for _, r := range []*reservation{a, b} {
		if err := r.wait(t.Context(), 40, func(int) {}); err != nil {
			t.Fatal(err)
		}
		if err := r.claim(40); err != nil {
			t.Fatal(err)
		}
	}
	var crowded *errCrowded
	if err := a.claim(50); !errors.As(err, &crowded) || crowded.bytes != 90 {
		t.Fatalf("a claim beyond the budget: %v", err)
	}
	late := m.enter()
	waits := make(chan struct{}, 1)
	served := make(chan string, 2)
	go func() {
		_ = a.wait(t.Context(), crowded.bytes, func(int) { waits <- struct{}{} })
		served <- "first"
		a.release()
	}()
	<-waits
	go func() {
		_ = late.wait(t.Context(), 20, func(int) {})
		served <- "late"
		late.release()
	}()
	b.release()
	if got := []string{<-served, <-served}; !slices.Equal(got, []string{"first", "late"}) {
		t.Errorf("served were %v", got)
	}
	huge := m.enter()
	if err := huge.wait(t.Context(), 1000, func(int) {}); err != nil || m.used != 100 {
		t.Errorf("a transfer that needs more than the limit: %v, it has %d", err, m.used)
	}
	if err := huge.claim(1000); err != nil {
		t.Error(err)
	}
}

func TestWaitingIsReportedAsProgress(t *testing.T) {
	for want, p := range map[string]Progress{
		"waiting for memory, next in line": {Total: -1, Waiting: true},
		"waiting for memory, 3 before it":  {Total: -1, Waiting: true, Before: 3},
	} {
		if got := fmt.Sprint(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Reading far ahead of the network is optional: it uses free memory, and neither waits for it nor keeps it.
func TestReadingFarAheadTakesFreeMemoryOnly(t *testing.T) {
	url := serve(t, zstandard(t, rawDisk(4*mib), true))
	for _, tt := range []struct {
		name   string
		memory int64
		chunks int
	}{
		{"enough", 64 * mib, packedChunks},
		{"for one without", 24 * mib, aheadChunks},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOpener(t, func(opts *Options) { opts.MaxMemory = tt.memory })
			img, err := o.Open(t.Context(), Source{URL: url})
			if err != nil {
				t.Fatal(err)
			}
			p := img.Pack()
			if got := cap(p.ReadCloser.(*buffered).full); got != tt.chunks {
				t.Errorf("%d chunks are read ahead, want %d", got, tt.chunks)
			}
			if _, err := io.Copy(io.Discard, p); err != nil {
				t.Error(err)
			}
			if err := errors.Join(p.Close(), img.Close()); err != nil {
				t.Error(err)
			}
			if o.memory.used != 0 {
				t.Errorf("%d bytes are still taken", o.memory.used)
			}
		})
	}
	m := newMemory(64 * mib)
	first, second := m.enter(), m.enter()
	_ = first.wait(t.Context(), 40*mib, nil)
	_ = first.claim(40 * mib)
	waiting, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	queued := make(chan struct{})
	go func() { done <- second.wait(waiting, 32*mib, func(int) { close(queued) }) }()
	<-queued
	if first.claimSpare(16 * mib) {
		t.Error("spare memory was taken from a waiting transfer")
	}
	cancel()
	<-done
	if !first.claimSpare(16*mib) || first.claimSpare(16*mib) {
		t.Error("24 MiB are free: once 16 fit")
	}
}
