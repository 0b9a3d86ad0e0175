package sim

import "time"

// The rate limit before login, per address and method.
const (
	attemptLimit = 20
	attemptSpan  = 60 * time.Second
)

// attempt is the time of a call without a login.
type attempt = time.Time

// attempted counts a call before login, and refuses it beyond the limit. Refused calls do not count. The caller holds the lock.
func (s *Sim) attempted(method, address string) error {
	key := method + " " + address
	now := s.clock.Now()
	recent := s.attempts[key]
	for len(recent) > 0 && now.Sub(recent[0]) >= attemptSpan {
		recent = recent[1:]
	}
	if len(recent) >= attemptLimit {
		s.attempts[key] = recent
		return fail(eBUSY, "Rate Limit Exceeded")
	}
	s.attempts[key] = append(recent, now)
	return nil
}

// authorize reports whether the session may call a method now. The caller holds the lock.
func (c *session) authorize(name string, m method) error {
	if c.user == nil {
		if err := c.sim.attempted(name, c.peer.address); err != nil {
			return err
		}
		if m.open == 0 || c.sim.release < m.open {
			return fail(eNOTAUTHENTICATED, "Not authenticated")
		}
		return nil
	}
	if !c.user.allowed(m.roles) {
		return fail(eACCES, "Not authorized")
	}
	return nil
}
