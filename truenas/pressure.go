package truenas

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What a slow NAS may cost its callers.
const (
	// defaultTurnWait is how long a call waits for a place in flight; callers have half a minute for
	// what they ask most.
	defaultTurnWait = 20 * time.Second
	// maxQueued is how many calls may wait: more than a thousand VMs made at once need.
	maxQueued = 10_000
	// maxWrittenOff is how long at most a call without an answer holds its place after its caller.
	maxWrittenOff = time.Minute
)

// writtenOff is how long after its caller a call without an answer holds its place. TrueNAS lets as
// many calls wait as it runs, so that one which it is still busy with does no harm.
func (c Config) writtenOff() time.Duration {
	if c.Linger <= 0 {
		return maxWrittenOff
	}
	return min(c.Linger, maxWrittenOff)
}

// full refuses a call at once when too many are waiting already.
func (st *state) full(method string, queued int) error {
	if len(st.queue) < queued {
		return nil
	}
	return &Error{Method: method, Reason: "TrueNAS is slow: " + st.load(), kind: ErrUnavailable}
}

// outOfTurn ends a call that has waited long enough for a place in flight, or says how long it may
// still wait.
func (st *state) outOfTurn(r *request, wait time.Duration) (left time.Duration) {
	from := r.born
	if st.since.After(from) {
		from = st.since // Before that there was no link to wait for a place on.
	}
	if r.sent {
		return wait
	}
	if left = wait - time.Since(from); left > 0 {
		return left
	}
	load := st.load()
	st.withdraw(r)
	r.finish(nil, &Error{Method: r.method, Reason: fmt.Sprintf("TrueNAS is slow: no turn came within %v; %s", wait, load), kind: ErrUnavailable})
	return wait
}

// late says of a call whose caller's time is over what it was waiting for.
func (st *state) late(r *request, cause error) error {
	if !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if st.link == nil {
		return fmt.Errorf("no connection to TrueNAS within %v: %s: %w", time.Since(r.born).Round(time.Millisecond), unconnected(st.reason), cause)
	}
	what := "no turn came"
	if r.sent {
		what = "no answer came"
	}
	return fmt.Errorf("TrueNAS is slow: %s within %v; %s: %w", what, time.Since(r.born).Round(time.Millisecond), st.load(), cause)
}

// unconnected is why there is no link, without its kind.
func unconnected(reason error) string {
	var e *Error
	if errors.As(reason, &e) && e.Reason != "" {
		return e.Reason
	}
	return reason.Error()
}

// load is how much the NAS has to do for this client.
func (st *state) load() string {
	return fmt.Sprintf("%d calls wait for their turn, %d for their answers", len(st.queue), len(st.pending))
}

// free says whether one more call may be written. Calls that nobody waits for any more hold their
// places until their answers are written off.
func (st *state) free(inFlight int, patience time.Duration) bool {
	held := len(st.pending)
	for _, r := range st.pending {
		if r.abandoned && time.Since(r.left) > patience {
			held--
		}
	}
	return held < inFlight && len(st.pending) < maxInFlight
}
