package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

var (
	errClosed       = errors.New("the client is closed")
	errSlotsHeld    = errors.New("calls without a reply occupied every slot")
	errLoggedOut    = errors.New("TrueNAS ended the login session")
	errUnsubscribed = errors.New("TrueNAS ended a subscription")
)

func unavailable(reason string, cause error) error {
	return &Error{Reason: reason, kind: ErrUnavailable, cause: cause}
}

// do makes a call and waits for its reply.
func (s *session) do(ctx context.Context, method string, kind kind, params []any) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	r, err := s.newRequest(method, kind, params)
	if err != nil {
		return nil, err
	}
	if err := s.enqueue(r); err != nil {
		return nil, err
	}
	return s.await(ctx, r)
}

// await returns the reply, or the reason to stop waiting. TrueNAS carries out a change that it has
// received, perhaps a minute later and even if the caller has gone. So await keeps waiting for a
// while after the context has ended: otherwise the change could take effect after the caller has
// checked the NAS and retried.
func (s *session) await(ctx context.Context, r *request) (json.RawMessage, error) {
	patience := time.NewTimer(min(s.cfg.ConnectWait, s.cfg.TurnWait))
	defer patience.Stop()
	for {
		select {
		case <-r.done:
			return r.result, r.err
		case <-ctx.Done():
			s.awaitSentChange(r)
			s.update(func(st *state) { st.abandon(r, ctx.Err()) })
			<-r.done
			return r.result, r.err
		case <-patience.C:
			s.update(func(st *state) { patience.Reset(s.giveUp(st, r)) })
		}
	}
}

// awaitSentChange waits for a change that was sent.
func (s *session) awaitSentChange(r *request) {
	s.mu.Lock()
	happens := r.sent && r.kind != read
	s.mu.Unlock()
	if !happens {
		return
	}
	timer := time.NewTimer(s.cfg.Linger)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
	}
}

// abandon stops waiting for a call. A call that was sent keeps its slot until its reply arrives,
// because TrueNAS runs it to the end.
func (st *state) abandon(r *request, cause error) {
	if r.finished {
		return
	}
	cause = st.late(r, cause)
	if r.sent && r.kind != read {
		cause = fmt.Errorf("%w: %w", ErrUncertain, cause)
	}
	if r.sent {
		r.abandoned, r.left = true, time.Now()
	} else {
		st.withdraw(r)
	}
	r.finish(nil, fmt.Errorf("%s: %w", r.method, cause))
}

// withdraw removes an unsent call from the queue.
func (st *state) withdraw(r *request) {
	same := func(other *request) bool { return other == r }
	st.queue = slices.DeleteFunc(st.queue, same)
	if st.pending[r.id] == r {
		delete(st.pending, r.id)
		st.link.out = slices.DeleteFunc(st.link.out, same)
	}
}

// giveUp ends a call that has waited too long for a connection or a slot, or returns how much
// longer it may wait.
func (s *session) giveUp(st *state, r *request) time.Duration {
	switch {
	case r.finished:
		return s.cfg.ConnectWait
	case st.link != nil:
		return min(s.cfg.ConnectWait, st.outOfTurn(r, s.cfg.TurnWait))
	}
	if left := st.patience(r.born, s.cfg.ConnectWait); left > 0 {
		return left
	}
	st.withdraw(r)
	r.finish(nil, callError(r.method, st.reason))
	return s.cfg.ConnectWait
}

// callError wraps the reason for a missing link as the error of one call.
func callError(method string, reason error) error {
	kind := ErrUnavailable
	var e *Error
	if errors.As(reason, &e) && isFatal(reason) {
		kind = e.Kind()
	}
	return &Error{Method: method, Reason: unconnected(reason), kind: kind, cause: reason}
}

// receive handles a message from the link's reader.
func (s *session) receive(l *link, m message) {
	s.update(func(st *state) {
		if st.link != l {
			return
		}
		if m.ID == nil {
			s.notified(st, m)
			return
		}
		r := st.pending[*m.ID]
		if r == nil {
			return // duplicate reply
		}
		s.answered(st, r, m)
	})
}

func (s *session) answered(st *state, r *request, m message) {
	delete(st.pending, r.id)
	if m.Error == nil {
		if r.kind == job {
			st.jobs.began(m.Result)
		}
		r.finish(m.Result, nil)
		return
	}
	err := m.Error.toError(r.method)
	s.redact(err)
	// A call that was refused because the login had ended has not happened, whatever its kind: it
	// is retried once, after the next login.
	if err.Errno == eNOTAUTHENTICATED && r.own == nil && !r.again && !r.abandoned {
		r.again = true
		st.requeue(r)
		st.link.fail(errLoggedOut)
		return
	}
	r.finish(nil, err)
}
