package sim

import "time"

// Action is the kind of a fault.
type Action int

// The kinds of faults.
const (
	Delay       Action = iota // only late: Fault.Delay is added to the latency
	Refuse                    // answered with Fault.Err, not done
	DropReply                 // done, never answered
	CutBefore                 // not done, the connection is cut
	CutAfter                  // done, and the connection is cut instead of an answer
	AnswerTwice               // done, answered twice
	FailJob                   // answered with a job, which does nothing and fails with Fault.Err
	AnswerLate                // done at once, and answered when Fault.Delay has passed
	Restart                   // done, and the middleware is restarted instead of an answer; a job gets nowhere
	Overlap                   // of vm.create, pool.dataset.delete and pool.snapshot.delete: Fault.During runs after the checks and before the work, as calls of others may
	DestroyHalf               // of pool.dataset.delete from 26 on: one dataset of a tree goes, or none of one alone, and the answer is true (rule 2)
	Truncate                  // of an upload: done with its first bytes, and said to have succeeded
	RefuseAfter               // done, and answered with Fault.Err all the same, as vm.start does from 26 on when the web server cannot be reloaded
	LongJob                   // answered with a job, which takes Fault.Delay on the simulator's clock and then fails if there is a Fault.Err; nothing else is late
	AbortJob                  // answered with a job, which is aborted as soon as it runs; work that an abort does not end (rule 16) takes Fault.Delay on the simulator's clock
)

// Fault is a fault at a future call. It happens once.
type Fault struct {
	Method string // "": any that is counted; "filesystem.put" is the upload, "filesystem.get" the fetching of a download
	Nth    int    // which call of that method, from 1, counted from Inject; 0 is 1
	Then   Action
	Err    *CallError    // of Refuse, RefuseAfter and FailJob; nil: [EFAULT] Simulated fault. Of LongJob; nil: it succeeds
	Delay  time.Duration // wall time, added to the latency whatever Then is but LongJob and AbortJob; AnswerLate waits for it after the call
	During func()        // of Overlap; it may call the simulator
}

// armed is a pending fault.
type armed struct {
	Fault
	left int           // calls until it happens
	over chan struct{} // closed when it happens or is removed
}

// Inject schedules a fault. The returned channel is closed when the fault begins,
// or when it is removed.
func (s *Sim) Inject(f Fault) <-chan struct{} {
	if f.Err == nil && f.Then != LongJob {
		f.Err = &CallError{Errno: eFAULT, Reason: "[EFAULT] Simulated fault"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &armed{f, max(f.Nth, 1), make(chan struct{})}
	s.faults = append(s.faults, a)
	return a.over
}

// ClearFaults removes the faults that have not happened.
func (s *Sim) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.faults {
		close(a.over)
	}
	s.faults = nil
}

// due counts a call and gives the fault that happens at it; the zero Fault is
// none. Of several that fall on one call the first to be injected happens. The
// lock must be held.
func (s *Sim) due(method string, work bool) Fault {
	var f Fault
	happens := false
	left := s.faults[:0]
	for _, a := range s.faults {
		if a.Method == method || a.Method == "" && work {
			a.left--
		}
		if a.left > 0 {
			left = append(left, a)
			continue
		}
		close(a.over)
		if !happens {
			f, happens = a.Fault, true
		}
	}
	clear(s.faults[len(left):])
	s.faults = left
	return f
}

// on is the method, a job, as it is done under the fault.
func (f Fault) on(m method) method {
	switch f.Then {
	case FailJob:
		err := f.Err
		m.run = func(*call) (any, error) { return nil, err }
	case LongJob:
		work := m.run
		m.run = func(c *call) (any, error) {
			c.takes = f.Delay
			if f.Err != nil {
				c.fails = f.Err
			}
			result, err := work(c)
			if err == nil {
				err = c.linger() // Unless it did so amid its work.
			}
			return result, err
		}
	case AbortJob:
		work := m.run
		m.run = func(c *call) (any, error) {
			c.takes = f.Delay
			c.locked(c.job.abort)
			return work(c)
		}
	case Restart:
		m.run = func(c *call) (any, error) {
			c.sim.RestartMiddleware()
			return nil, errRestarted
		}
	}
	return m
}

// before is how long the call waits until it is done, and after how long its
// answer waits then.
func (f Fault) before() time.Duration {
	if f.Then == AnswerLate || f.Then == LongJob || f.Then == AbortJob {
		return 0
	}
	return f.Delay
}

// overlap is what happens between the checks of the call and its work.
func (f Fault) overlap() func() {
	if f.Then == Overlap {
		return f.During
	}
	return nil
}

func (f Fault) after() time.Duration {
	if f.Then == AnswerLate {
		return f.Delay
	}
	return 0
}
