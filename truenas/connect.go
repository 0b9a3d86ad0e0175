package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"
)

const (
	openTimeout  = 30 * time.Second // one attempt: dial, login and subscriptions
	backoffFirst = 50 * time.Millisecond
	backoffMax   = 5 * time.Second
	fatalPause   = 30 * time.Second // a refused key may become valid again
	busyPause    = 20 * time.Second // the login rate limit is reached
	steady       = 10 * time.Second // a link that lived this long resets the backoff

	// TrueNAS returns EBUSY beyond 20 logins per 60 s and address. This client makes at most 8 + 6
	// in a minute.
	loginEvery = 10 * time.Second
	loginBurst = 8
)

// run keeps a link open until the session is closed.
func (s *session) run() {
	pauses := &backoff.ExponentialBackOff{
		InitialInterval: backoffFirst, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: backoffMax,
	}
	pauses.Reset()
	for s.ctx.Err() == nil {
		l, err := s.connect(s.ctx)
		if err != nil {
			s.failed(err)
			s.sleep(pauseAfter(err, pauses))
			continue
		}
		began := time.Now()
		s.adopt(l)
		s.drive(l)
		s.lost(l)
		if time.Since(began) > steady {
			pauses.Reset()
		}
		s.sleep(pauses.NextBackOff())
	}
}

func pauseAfter(err error, pauses *backoff.ExponentialBackOff) time.Duration {
	switch {
	case isFatal(err):
		return fatalPause
	case errors.Is(err, ErrBusy):
		return busyPause
	}
	return pauses.NextBackOff()
}

// isFatal reports whether an immediate retry is pointless, and so is waiting for it.
func isFatal(err error) bool {
	return errors.Is(err, ErrAuth) || errors.Is(err, ErrUnsupported) || errors.Is(err, ErrCertificate)
}

func (s *session) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// drive returns when the link fails or the session is closed.
func (s *session) drive(l *link) {
	s.wg.Go(func() { l.read(func(m message) { s.receive(l, m) }) })
	s.wg.Go(func() { l.pump(func() *request { return s.next(l) }) })
	select {
	case <-l.closed:
	case <-s.ctx.Done():
		l.fail(errClosed)
	}
	l.cut() // ends the reader
}

// connect opens a link, logs in and subscribes.
func (s *session) connect(ctx context.Context) (*link, error) {
	s.update(func(st *state) { st.attempt.begin() })
	chosen, err := s.dialer.negotiate(ctx)
	if err != nil {
		return nil, err
	}
	s.update(func(st *state) { st.attempt.answered = true })
	if chosen.newer != "" {
		s.newerOnce(chosen)
	}
	scram := chosen.release.AtLeast(R26) && !s.cfg.PlainLogin
	if err := s.logins.WaitN(ctx, loginCalls(scram)); err != nil {
		return nil, unavailable("login rate limit reached", err)
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ws, err := s.dialer.websocket(ctx, chosen.path)
	if err != nil {
		return nil, err
	}
	l := newLink(ws, s.cfg.Keepalive)
	l.endpoint, l.release, l.fingerprint = s.dialer.socketURL(chosen.path), chosen.release, fingerprint(l.certificate())
	unblock := context.AfterFunc(ctx, func() { _ = ws.Close() })
	defer unblock()
	if err := s.open(ctx, l, scram); err != nil {
		_ = ws.Close()
		return nil, err
	}
	ws.SetReadLimit(maxReply)
	return l, nil
}

// open logs in and, in one round trip, subscribes and reads the version.
func (s *session) open(ctx context.Context, l *link, scram bool) error {
	deadline, _ := ctx.Deadline()
	if err := s.login(l, deadline, scram); err != nil {
		return err
	}
	version := &opening{method: systemVersion.name}
	calls := []*opening{version}
	subscriptions := map[string]*opening{}
	for _, name := range s.collections() {
		sub := &opening{method: "core.subscribe", params: []any{name}}
		subscriptions[name] = sub
		calls = append(calls, sub)
	}
	if err := l.exchange(deadline, calls...); err != nil {
		return unavailable("connection lost during setup: "+err.Error(), err)
	}
	_ = json.Unmarshal(version.result, &l.system) // display name; empty if the key may not read it
	for name, sub := range subscriptions {
		l.asked[name] = true
		if sub.err == nil {
			var id string
			_ = json.Unmarshal(sub.result, &id) // used to unsubscribe only
			l.confirmed[name] = id
		} else {
			s.cfg.Logger.Warn("TrueNAS refused a subscription", zap.String("collection", name), zap.Error(sub.err))
		}
	}
	return nil
}

// collections are the subscriptions made while opening; later ones follow separately.
func (s *session) collections() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := []string{jobEvents}
	for name := range s.st.topics {
		if name != jobEvents && len(names) < s.cfg.InFlight {
			names = append(names, name)
		}
	}
	return names
}
