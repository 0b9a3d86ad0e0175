package sim

import (
	"slices"
	"strings"
)

// counted reports whether a method is work: logins, pings and subscriptions keep
// a connection going and are not counted.
func counted(method string) bool {
	switch method {
	case "core.ping", "core.subscribe", "core.unsubscribe":
		return false
	}
	return !strings.HasPrefix(method, "auth.")
}

// count notes a call, finds the fault that is due at it, and gives what must
// be called, without the lock, before it is served. The lock must be held.
func (s *Sim) count(loggedIn bool, method string) (Fault, func()) {
	work := loggedIn && counted(method)
	f := s.due(method, work)
	if !work {
		return f, nil
	}
	s.calls = append(s.calls, method)
	n, fn := len(s.calls), s.onCall
	if fn == nil {
		return f, nil
	}
	return f, func() { fn(n, method) }
}

// Calls lists the methods that clients called since the start or the last
// ResetCalls, in order of arrival. Logins, pings and subscriptions are left
// out; an upload is "filesystem.put" and the fetching of a download is
// "filesystem.get".
func (s *Sim) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// ResetCalls resets the counters.
func (s *Sim) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.read, s.rows = nil, 0, 0
}

// SnapshotsRead is how many snapshots queries have read since the start or the last ResetCalls. Up to
// 25.10 a query reads all of them, unless its one filter is an id, or it selects only names and
// filters by dataset or pool (rule 8).
func (s *Sim) SnapshotsRead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// DatasetsSent is how many datasets queries have answered with since the start or the last ResetCalls,
// those in the children of others included (rule 7).
func (s *Sim) DatasetsSent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows
}

// OnCall has fn called before each call that Calls will list is served; n
// counts them from 1. If fn cuts the connections, that call is not served.
// nil ends it.
func (s *Sim) OnCall(fn func(n int, method string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCall = fn
}
