package truenas

import (
	"context"
	"errors"
	"time"
)

// An attempt is one try to open a link, as far as callers have to know of it. A
// NAS that is slow to log somebody in is not away: whoever calls while the
// attempt makes progress waits for its outcome, within the caller's own
// deadline. A NAS that is away is waited for no longer than
// [Config.ConnectWait].
type attempt struct {
	open     bool      // the attempt is under way
	answered bool      // the NAS has answered in it
	repeated bool      // the attempt before it failed too
	failed   time.Time // when the last attempt failed
}

// begin starts an attempt.
func (a *attempt) begin() { a.open, a.answered = true, false }

// fail ends an attempt without a link.
func (a *attempt) fail() { *a = attempt{repeated: true, failed: time.Now()} }

// hopeful says whether a call that was made at that time should wait for the
// attempt. After a failure only an answer of the NAS gives a reason to, and a
// call sees one failure at most: an attempt may take half a minute, and a NAS
// that never completes a login would otherwise keep callers for ever.
func (a *attempt) hopeful(born time.Time) bool {
	return a.open && (a.answered || !a.repeated) && !a.failed.After(born)
}

// patience is how long a call that was made at that time still waits for a
// link, when it waits that long at all; zero means no longer.
func (st *state) patience(born time.Time, wait time.Duration) time.Duration {
	if st.attempt.hopeful(born) {
		return wait
	}
	from := born
	if st.since.After(from) {
		from = st.since
	}
	return max(0, wait-time.Since(from))
}

// expire ends the calls that have no more patience, when an attempt has failed.
func (st *state) expire(wait time.Duration) {
	waiting := st.queue
	for _, r := range waiting {
		if st.patience(r.born, wait) == 0 {
			r.finish(nil, passOn(r.method, st.reason))
		}
	}
	st.queue = nil
	for _, r := range waiting {
		if !r.finished {
			st.queue = append(st.queue, r)
		}
	}
}

// connected waits for a link until ctx ends or the patience of a call is over;
// zero stands for endless patience.
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
			return Release{}, passOn("", reason)
		}
		if err := pause(ctx, changed, wait > 0, left); err != nil {
			return Release{}, outOfTime(err, reason)
		}
	}
}

// pause returns when something has changed or, where bounded, that time is over;
// or with the error of ctx.
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

// outOfTime is the error of a caller whose context ended without a link.
func outOfTime(ended, reason error) error {
	e := passOn("", reason)
	var known *Error
	if errors.As(e, &known) {
		known.kind, known.cause = ErrUnavailable, errors.Join(ended, reason)
	}
	return e
}
