package truenas

import (
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"
)

// adopt puts an opened link into use.
func (s *session) adopt(l *link) {
	var waited []JobID
	s.update(func(st *state) {
		st.link, st.release, st.reason, st.fatal = l, l.release, nil, false
		st.attempt = attempt{}
		st.epoch++
		st.since = time.Now()
		for name, id := range l.confirmed {
			st.confirm(name, id)
		}
		waited = st.jobs.restart()
		for _, m := range l.early {
			s.notified(st, m)
		}
		l.early = nil
		st.announce()
	})
	if len(waited) > 0 {
		s.wg.Go(func() { s.reconcile(waited) })
	}
	s.cfg.Logger.Info("connected to TrueNAS", zap.String("endpoint", l.endpoint), zap.String("system", l.system))
	s.reportState()
}

// lost takes a failed link out of use. Reads and unwritten calls return to the queue; the outcome
// of a written change is uncertain.
func (s *session) lost(l *link) {
	reason := unavailable("connection lost: "+l.err.Error(), l.err)
	s.update(func(st *state) {
		st.link, st.reason = nil, reason
		st.since = time.Now()
		if l.slotTimer != nil {
			l.slotTimer.Stop()
		}
		st.holdBack(s.cfg.Holdback)
		for id, r := range st.pending {
			delete(st.pending, id)
			switch {
			case r.own != nil:
				r.finish(nil, reason)
			case r.abandoned:
			case !r.sent || r.kind == read:
				st.requeue(r)
			default:
				r.finish(nil, &Error{Method: r.method, Reason: "connection lost before the reply", kind: ErrUncertain, cause: l.err})
			}
		}
		st.queue = slices.DeleteFunc(st.queue, func(r *request) bool {
			if r.own != nil {
				r.finish(nil, reason)
			}
			return r.own != nil
		})
		for _, t := range st.topics {
			t.lose(&s.st)
		}
		st.announce()
	})
	if s.ctx.Err() == nil {
		s.cfg.Logger.Warn("lost the connection to TrueNAS", zap.Error(l.err))
	}
	s.reportState()
}

// failed records why a link could not be opened. Callers fail at once if waiting is pointless.
func (s *session) failed(reason error) {
	var e *Error
	if errors.As(reason, &e) {
		s.redact(e)
	}
	before := s.status().Err
	first := before == nil || before.Error() != reason.Error()
	if first && s.ctx.Err() == nil {
		s.cfg.Logger.Warn("cannot connect to TrueNAS", zap.Error(reason))
	}
	s.update(func(st *state) {
		st.reason, st.fatal = reason, isFatal(reason)
		st.attempt.fail()
		if st.fatal {
			st.dismiss(reason)
		}
		st.expire(s.cfg.ConnectWait)
		st.announce()
	})
	if first {
		s.reportState()
	}
}

// dismiss fails all waiting calls.
func (st *state) dismiss(reason error) {
	for _, r := range st.queue {
		r.finish(nil, callError(r.method, reason))
	}
	st.queue = nil
}

// close ends the session; it returns when all goroutines have ended.
func (s *session) close() {
	s.update(func(st *state) { st.closed = true }) // no new work from here on
	s.stop()
	s.update(func(st *state) {
		st.reason = unavailable("the client is closed", nil)
		st.dismiss(st.reason)
		if st.released != nil {
			st.released.Stop()
		}
		st.jobs.wakeAll()
		for _, t := range st.topics {
			t.close()
		}
		st.announce()
	})
	s.wg.Wait()
	s.update(func(st *state) { st.dismiss(st.reason) }) // calls returned by the last link
	s.dialer.close()
}

func (s *session) reportState() {
	if s.cfg.Hooks.OnState != nil {
		s.cfg.Hooks.OnState(s.status())
	}
}

func (s *session) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Since: s.st.since, Err: s.st.reason}
	if l := s.st.link; l != nil {
		st.Connected, st.Endpoint, st.System, st.Roles = true, l.endpoint, l.system, l.roles
		st.Latency = time.Duration(l.latency.Load())
		st.Certificate, st.Trust = l.fingerprint, s.cfg.trust(l.fingerprint)
	}
	return st
}
