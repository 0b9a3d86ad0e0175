package sim

import (
	"slices"
	"strings"
)

// counted reports whether a method counts as work. Logins, pings and subscriptions only maintain a connection and do not count.
func counted(method string) bool {
	switch method {
	case "core.ping", "core.subscribe", "core.unsubscribe":
		return false
	}
	return !strings.HasPrefix(method, "auth.")
}

// count records a call. It returns the fault that is due, and a function to call, without the lock, before the call is served.
// The caller holds the lock.
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

// Calls lists the methods that clients called since the start or the last ResetCalls, in order of arrival. It omits logins, pings
// and subscriptions. An upload appears as "filesystem.put", a download as "filesystem.get".
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

// SnapshotsRead returns how many snapshots queries have read since the start or the last ResetCalls. Up to 25.10 a query reads
// all of them, unless its only filter is an id, or it selects only names and filters by dataset or pool (rule 8).
func (s *Sim) SnapshotsRead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// DatasetsSent returns how many datasets the replies of queries contained since the start or the last ResetCalls, including
// children (rule 7).
func (s *Sim) DatasetsSent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows
}

// OnCall sets a function that is called before each call that Calls will list, with the number of the call from 1. If fn cuts the
// connections, that call is not served. A nil fn removes the function.
func (s *Sim) OnCall(fn func(n int, method string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCall = fn
}
