package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// The memory of transfers, in bytes, without their windows: the chunks that are read ahead on both sides of a decoder, the
// network's buffers and the head of the image.
const (
	streamBytes  = 12 * mib
	decoderBytes = 4 * mib                      // tables and blocks of a decoder
	leastWindow  = 8 * mib                      // the minimum window for a stream, independent of its first header
	sinkBytes    = 8 * mib                      // of an upload to a file
	pairingBytes = xzPairBytes + 2*xzPairWindow // of the one image whose xz blocks are unpacked in pairs
)

// defaultMemory is [Options.MaxMemory] when that is zero; it suits a container of 512 MiB.
const defaultMemory = 256 * mib

// memory is the limit of all transfers of an [Opener] together. It serves transfers in the order of arrival: a later one never
// overtakes an earlier one, even if it needs less. A transfer that needs more than the limit gets all of it.
type memory struct {
	mu      sync.Mutex
	total   int64
	used    int64
	tickets uint64
	queue   []*waiter // by ticket
}

// waiter is a transfer in the queue.
type waiter struct {
	ticket  uint64
	bytes   int64
	ready   chan struct{} // closed after it has received its memory
	changed chan struct{} // has room for one signal: its position has changed
}

// reservation is the memory of one transfer. It keeps its place in the queue when it waits again.
type reservation struct {
	memory  *memory
	ticket  uint64
	held    int64
	claimed int64 // the claimed part of held
}

// errCrowded reports that a transfer needs more memory than is free. It has to release everything, wait with [reservation.wait] and
// start again, since transfers that hold memory and wait for more could wait for each other.
type errCrowded struct{ bytes int64 }

func (e *errCrowded) Error() string { return fmt.Sprintf("needs %d MiB of memory", e.bytes/mib) }

func newMemory(total int64) *memory { return &memory{total: total} }

// enter takes a place in the queue.
func (m *memory) enter() *reservation {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tickets++
	return &reservation{memory: m, ticket: m.tickets}
}

// wait releases the held memory and returns when bytes are available. It calls queued with the number of transfers ahead whenever
// that changes, and not at all without a wait.
func (r *reservation) wait(ctx context.Context, bytes int64, queued func(before int)) error {
	r.release()
	m := r.memory
	w := &waiter{ticket: r.ticket, bytes: min(bytes, m.total), ready: make(chan struct{}), changed: make(chan struct{}, 1)}
	m.mu.Lock()
	i, _ := slices.BinarySearchFunc(m.queue, w.ticket, func(q *waiter, ticket uint64) int { return cmp.Compare(q.ticket, ticket) })
	m.queue = slices.Insert(m.queue, i, w)
	m.serve()
	m.mu.Unlock()
	for {
		select {
		case <-w.ready:
			r.held = w.bytes
			return nil
		default:
		}
		queued(m.before(w))
		select {
		case <-w.ready:
		case <-w.changed:
		case <-ctx.Done():
			m.leave(w)
			return context.Cause(ctx)
		}
	}
}

// serve gives memory to the transfers at the head of the queue. The caller holds the lock.
func (m *memory) serve() {
	served := false
	for len(m.queue) > 0 && m.used+m.queue[0].bytes <= m.total {
		m.used += m.queue[0].bytes
		close(m.queue[0].ready)
		m.queue, served = m.queue[1:], true
	}
	if !served {
		return
	}
	for _, w := range m.queue {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

func (m *memory) before(w *waiter) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(0, slices.Index(m.queue, w))
}

// leave removes a canceled transfer from the queue, or takes back its memory.
func (m *memory) leave(w *waiter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.queue, w); i >= 0 {
		m.queue = slices.Delete(m.queue, i, i+1)
	} else {
		m.used -= w.bytes
	}
	m.serve()
}

// claim takes memory for a need that the transfer has discovered. It takes the missing memory immediately, or returns [errCrowded].
func (r *reservation) claim(bytes int64) error {
	m := r.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	need := min(r.claimed+bytes, m.total)
	if need > r.held {
		overtakes := len(m.queue) > 0 && m.queue[0].ticket < r.ticket
		if overtakes || m.used+need-r.held > m.total {
			return &errCrowded{r.claimed + bytes}
		}
		m.used += need - r.held
		r.held = need
	}
	r.claimed += bytes
	return nil
}

// claimSpare is claim for optional memory: it takes nothing while other transfers wait.
func (r *reservation) claimSpare(bytes int64) bool {
	m := r.memory
	m.mu.Lock()
	fits := len(m.queue) == 0 && r.claimed+bytes <= m.total
	m.mu.Unlock()
	return fits && r.claim(bytes) == nil
}

// unclaim lets the same transfer use bytes for another purpose.
func (r *reservation) unclaim(bytes int64) {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	r.claimed -= bytes
}

// release returns all memory. A repeated call is harmless.
func (r *reservation) release() {
	m := r.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= r.held
	r.held, r.claimed = 0, 0
	m.serve()
}

// decoderNeeds returns the memory of a decoder for a stream with this window, and the window that it may use.
func (o *Opener) decoderNeeds(kind Compression, window int64) (bytes, granted int64) {
	if kind == Uncompressed || window > o.opts.MaxWindow {
		return 0, o.opts.MaxWindow // The decoder refuses a larger window.
	}
	if window == 0 && kind == Zstd {
		window = narrowWindow // The first frame does not state it.
	}
	granted = min(max(window, leastWindow), o.opts.MaxWindow)
	if kind != XZ && kind != Zstd {
		return decoderBytes, granted
	}
	return granted + decoderBytes, granted
}

// reserved is the key of a transfer's reservation in its context.
type reserved struct{}

func withReservation(ctx context.Context, r *reservation) context.Context {
	return context.WithValue(ctx, reserved{}, r)
}

// claimDecoder claims the memory of a decoder for the transfer of a context.
func (o *Opener) claimDecoder(ctx context.Context, kind Compression, window int64) (granted int64, unclaim func(), err error) {
	bytes, granted := o.decoderNeeds(kind, window)
	r, _ := ctx.Value(reserved{}).(*reservation)
	if r == nil {
		return granted, func() {}, nil
	}
	if err := r.claim(bytes); err != nil {
		return 0, nil, err
	}
	return granted, sync.OnceFunc(func() { r.unclaim(bytes) }), nil
}

// admitted opens an image when memory is available. It opens the image again, after a wait, if the image needs more than is free.
func (o *Opener) admitted(ctx context.Context, src Source, open func(context.Context) (*Image, error)) (*Image, error) {
	r, need := o.memory.enter(), int64(streamBytes)
	waits := func(before int) {
		if src.Progress != nil {
			src.Progress(Progress{Total: -1, Waiting: true, Before: before})
		}
	}
	for {
		if err := r.wait(ctx, need, waits); err != nil {
			return nil, fmt.Errorf("waiting for memory: %w", err)
		}
		_ = r.claim(streamBytes) // This amount is already held.
		img, err := open(withReservation(ctx, r))
		var crowded *errCrowded
		switch {
		case err == nil:
			img.release, img.spare = r.release, r.claimSpare
			return img, nil
		case !errors.As(err, &crowded):
			r.release()
			return nil, err
		}
		need = crowded.bytes
	}
}
