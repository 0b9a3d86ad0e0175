package sim

import "time"

// Action is the kind of a fault.
type Action int

// The kinds of faults.
const (
	Delay       Action = iota // adds Fault.Delay to the latency
	Refuse                    // replies with Fault.Err and does nothing
	DropReply                 // does the work and never replies
	CutBefore                 // cuts the connection and does nothing
	CutAfter                  // does the work and cuts the connection instead of replying
	AnswerTwice               // does the work and replies twice
	FailJob                   // replies with a job that does nothing and fails with Fault.Err
	AnswerLate                // does the work at once and replies after Fault.Delay
	Restart                   // does the work and restarts the middleware instead of replying; a job does nothing
	Overlap                   // of vm.create, pool.dataset.delete and pool.snapshot.delete: runs Fault.During between the checks and the work, when a NAS may serve other calls
	DestroyHalf               // of pool.dataset.delete from 26 on: destroys one dataset of a tree, or nothing of a single dataset, and returns true (rule 2)
	Truncate                  // of an upload: stores only its first bytes and reports success
	RefuseAfter               // does the work and replies with Fault.Err, as vm.start does from 26 on if the web server cannot be reloaded
	LongJob                   // replies with a job that takes Fault.Delay on the simulator's clock, and fails if Fault.Err is set; nothing else is delayed
	AbortJob                  // replies with a job that is aborted as soon as it runs; work that ignores an abort (rule 16) takes Fault.Delay on the simulator's clock
)

// Fault is a fault of a future call. It happens once.
type Fault struct {
	Method string // "": any counted method; "filesystem.put" is the upload, "filesystem.get" the download
	Nth    int    // the number of the call of that method, from 1, counted from Inject; 0 means 1
	Then   Action
	Err    *CallError    // of Refuse, RefuseAfter and FailJob; nil: [EFAULT] Simulated fault. Of LongJob; nil: success
	Delay  time.Duration // wall time before the call, for any Then except LongJob and AbortJob; AnswerLate waits after the call
	During func()        // of Overlap; it may call the simulator
}

// armed is a pending fault.
type armed struct {
	Fault
	left int           // calls until it happens
	over chan struct{} // closed when it happens or is removed
}

// Inject schedules a fault. The returned channel is closed when the fault begins or is removed.
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

// ClearFaults removes the pending faults.
func (s *Sim) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.faults {
		close(a.over)
	}
	s.faults = nil
}

// due counts a call and returns the fault that is due, or the zero Fault. If several are due, it returns the first that was
// injected. The caller holds the lock.
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

// on returns the job's method with the fault.
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
				err = c.linger() // Unless the method did so during its work.
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

// before returns the delay before the call, and after the delay between the call and its reply.
func (f Fault) before() time.Duration {
	if f.Then == AnswerLate || f.Then == LongJob || f.Then == AbortJob {
		return 0
	}
	return f.Delay
}

// overlap returns the function to run between the checks of the call and its work.
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
