package truenas

import (
	"context"
	"errors"
	"time"
)

// An attempt is one try to open a link, as seen by waiting callers. A call waits for the outcome of
// an attempt that makes progress, within the caller's own deadline: a NAS that is slow to log in is
// not down. While the NAS does not respond, a call waits at most [Config.ConnectWait].
type attempt struct {
	open     bool      // in progress
	answered bool      // the NAS has responded
	repeated bool      // the previous attempt failed too
	failed   time.Time // time of the last failure
}

// begin starts an attempt.
func (a *attempt) begin() { a.open, a.answered = true, false }

// fail ends an attempt without a link.
func (a *attempt) fail() { *a = attempt{repeated: true, failed: time.Now()} }

// shouldWait reports whether a call that was made at the time born should wait for the attempt. After a failure it should wait only
// if the NAS has responded since. A call sees at most one failure: an attempt can take half a minute, and a NAS that never
// completes a login would otherwise block its callers forever.
func (a *attempt) shouldWait(born time.Time) bool {
	return a.open && (a.answered || !a.repeated) && !a.failed.After(born)
}

// patience returns how much longer a call that was made at the time born waits for a link. Zero means that its time is up.
func (st *state) patience(born time.Time, wait time.Duration) time.Duration {
	if st.attempt.shouldWait(born) {
		return wait
	}
	from := born
	if st.since.After(from) {
		from = st.since
	}
	return max(0, wait-time.Since(from))
}

// expire ends the calls whose patience is used up after a failed attempt.
func (st *state) expire(wait time.Duration) {
	waiting := st.queue
	for _, r := range waiting {
		if st.patience(r.born, wait) == 0 {
			r.finish(nil, callError(r.method, st.reason))
		}
	}
	st.queue = nil
	for _, r := range waiting {
		if !r.finished {
			st.queue = append(st.queue, r)
		}
	}
}

// connected waits for a link until ctx ends or the call's patience is used up; a wait of zero has
// no limit.
func (s *session) connected(ctx context.Context, wait time.Duration) (Release, error) {
	born := time.Now()
	for {
		var up bool
		var release Release
		var reason, refusal error
		var changed chan struct{}
		var left time.Duration
		s.update(func(st *state) {
			s.begin(st)
			up, release, reason = st.link != nil, st.release, st.reason
			refusal, changed = st.refusal(), st.changed
			left = st.patience(born, wait)
		})
		switch {
		case up:
			return release, nil
		case refusal != nil:
			return Release{}, refusal
		case wait > 0 && left == 0:
			return Release{}, callError("", reason)
		}
		if err := pause(ctx, changed, wait > 0, left); err != nil {
			return Release{}, outOfTime(err, reason)
		}
	}
}

// pause returns when the state changes, when left has passed (if bounded), or with ctx's error.
func pause(ctx context.Context, changed <-chan struct{}, bounded bool, left time.Duration) error {
	var over <-chan time.Time
	if bounded {
		timer := time.NewTimer(left)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-changed:
	case <-over:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// outOfTime returns the error of a caller whose context ended before a link existed.
func outOfTime(ended, reason error) error {
	e := callError("", reason)
	var known *Error
	if errors.As(e, &known) {
		known.kind, known.cause = ErrUnavailable, errors.Join(ended, reason)
	}
	return e
}
