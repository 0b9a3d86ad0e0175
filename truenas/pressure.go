package truenas

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits that apply while the NAS is slow.
const (
	// defaultTurnWait is how long a call waits for a slot. Managers allow half a minute for their most frequent requests.
	defaultTurnWait = 20 * time.Second
	// maxQueued limits the waiting calls; creating more than a thousand VMs at once stays below it.
	maxQueued = 10_000
	// maxWrittenOff is the longest time for which a call without a reply keeps its slot after its
	// caller has left.
	maxWrittenOff = time.Minute
)

// writtenOff returns how long a call without a reply keeps its slot after its caller has left.
// TrueNAS queues as many calls as it runs, so a call that is still running there does no harm.
func (c Config) writtenOff() time.Duration {
	if c.Linger <= 0 {
		return maxWrittenOff
	}
	return min(c.Linger, maxWrittenOff)
}

// full refuses a call if too many are waiting.
func (st *state) full(method string, queued int) error {
	if len(st.queue) < queued {
		return nil
	}
	return &Error{Method: method, Reason: "TrueNAS is slow: " + st.load(), kind: ErrUnavailable}
}

// outOfTurn ends a call that has waited too long for a slot, or returns how much longer it may
// wait.
func (st *state) outOfTurn(r *request, wait time.Duration) (left time.Duration) {
	from := r.born
	if st.since.After(from) {
		from = st.since // Before that there was no link with slots to wait for.
	}
	if r.sent {
		return wait
	}
	if left = wait - time.Since(from); left > 0 {
		return left
	}
	load := st.load()
	st.withdraw(r)
	r.finish(nil, &Error{Method: r.method, Reason: fmt.Sprintf("TrueNAS is slow: no free slot within %v; %s", wait, load), kind: ErrUnavailable})
	return wait
}

// late adds what the call was waiting for to the error of a caller whose deadline has passed.
func (st *state) late(r *request, cause error) error {
	if !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if st.link == nil {
		return fmt.Errorf("no connection to TrueNAS within %v: %s: %w", time.Since(r.born).Round(time.Millisecond), unconnected(st.reason), cause)
	}
	what := "no free slot"
	if r.sent {
		what = "no reply"
	}
	return fmt.Errorf("TrueNAS is slow: %s within %v; %s: %w", what, time.Since(r.born).Round(time.Millisecond), st.load(), cause)
}

// unconnected returns the reason for a missing link, without its kind.
func unconnected(reason error) string {
	var e *Error
	if errors.As(reason, &e) && e.Reason != "" {
		return e.Reason
	}
	return reason.Error()
}

// load describes the calls in progress and the queue.
func (st *state) load() string {
	return fmt.Sprintf("%d calls wait for a slot, %d for a reply", len(st.queue), len(st.pending))
}

// free reports whether one more call may be written. Abandoned calls keep their slots until they
// are written off.
func (st *state) free(inFlight int, patience time.Duration) bool {
	held := len(st.pending)
	for _, r := range st.pending {
		if r.abandoned && time.Since(r.left) > patience {
			held--
		}
	}
	return held < inFlight && len(st.pending) < maxInFlight
}
