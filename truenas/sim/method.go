package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// release is a generation of TrueNAS. Releases are ordered, so "since 25.10"
// is a comparison.
type release int

// The releases that the simulator can play. The zero value is not a release: in
// a method it means "no limit".
const (
	v25_04_2 release = iota + 1
	v25_10
	v26
	v27
)

// method is one entry of the method table: who may call it, how it runs, and
// what it does.
type method struct {
	since release // the first release that has it; zero: all
	until release // the last release that has it; zero: still there

	early []string // up to 25.04.2: other roles than those below
	roles []string // any one of these lets a session call it; empty: any session
	open  release  // the first release that allows it before login; zero: none

	job             bool
	lock            func(c *call) string // "" means none; the jobs of one lock run one at a time
	uninterruptible bool                 // its work cannot be ended by aborting the job
	queue           int                  // how many may wait behind the lock; 0: no limit
	input           bool                 // takes uploaded bytes: c.body
	output          bool                 // gives bytes for a download: c.out

	// run does it. For a plain method s.mu is held throughout. A job runs in
	// a goroutine of its own without the lock, and takes it by c.locked.
	run func(c *call) (any, error)
}

// in reports whether the release has the method.
func (m method) in(r release) bool {
	return r >= m.since && (m.until == 0 || r <= m.until)
}

// call is one request being served.
type call struct {
	sim     *Sim
	session *session
	method  string
	params  []json.RawMessage
	job     *job      // nil unless the method is a job
	body    io.Reader // what is uploaded
	out     io.Writer // what is downloaded

	takes  time.Duration // how long the job is to take on the simulator's clock
	fails  error         // what the job fails with after that time
	half   bool          // it destroys one dataset of a tree and reports all as destroyed
	during func()        // what happens between its checks and its work; nil: nothing
}

// overlap lets other calls be served before this one continues. The lock must be
// held. Earlier checks may be outdated.
func (c *call) overlap() {
	if c.during == nil {
		return
	}
	c.sim.mu.Unlock()
	c.during()
	c.sim.mu.Lock()
}

// release is the generation of TrueNAS that is being played.
func (c *call) release() release { return c.sim.release }

// now is the time on the simulator's clock.
func (c *call) now() time.Time { return c.sim.clock.Now() }

// locked runs fn with the simulator's lock held. Only jobs need it.
func (c *call) locked(fn func()) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	fn()
}

// progress reports the progress of a job, from 0 to 100 percent. It takes the lock
// itself.
func (c *call) progress(percent float64, text string) {
	c.locked(func() { c.job.report(percent, text) })
}

// sleep waits on the simulator's clock. It ends early, with an error, when the
// job is aborted or the simulator is closed.
func (c *call) sleep(d time.Duration) error { return c.sim.sleep(c.job.ctx, d) }

// linger lets the time pass that the job is to take.
func (c *call) linger() error {
	d, fails := c.takes, c.fails
	c.takes, c.fails = 0, nil
	if err := c.sleep(d); err != nil {
		return err
	}
	return fails
}

// noAttribute stands where TrueNAS names no argument: null in extra, "None" in the text.
const noAttribute = "None"

// fieldError is one complaint about one argument. The attribute is a dotted
// path such as "vm_create.memory".
type fieldError struct {
	attribute string
	message   string
	errno     int
}

func (e fieldError) text() string {
	return "[" + errnoName(e.errno) + "] " + e.attribute + ": " + e.message
}

// invalid collects complaints about the arguments; it is sent as -32602.
type invalid []fieldError

// add appends a complaint.
func (v *invalid) add(attribute string, errno int, format string, a ...any) {
	*v = append(*v, fieldError{attribute, fmt.Sprintf(format, a...), errno})
}

// err is nil when there is nothing to complain about.
func (v invalid) err() error {
	if len(v) == 0 {
		return nil
	}
	return v
}

// Error joins the complaints as TrueNAS prints them: each ends in a newline.
func (v invalid) Error() string {
	text := ""
	for _, e := range v {
		text += e.text() + "\n"
	}
	return text
}

// refusal is one complaint that TrueNAS raises by itself: it is sent as -32602 too, and its text
// has no newline.
type refusal fieldError

// refuse makes a refusal.
func refuse(attribute string, errno int, format string, a ...any) error {
	return refusal{attribute, fmt.Sprintf(format, a...), errno}
}

func (r refusal) Error() string { return fieldError(r).text() }

// As lets a refusal pass for a list of one complaint.
func (r refusal) As(target any) bool {
	v, ok := target.(*invalid)
	if ok {
		*v = invalid{fieldError(r)}
	}
	return ok
}

// failure is a call that was understood and did not succeed; it is sent as
// -32001. The reason begins with the errno's name in brackets.
type failure struct {
	errno  int
	reason string
}

func (f failure) Error() string { return f.reason }

// fail makes a failure: fail(eFAULT, "text") has the reason "[EFAULT] text".
func fail(errno int, format string, a ...any) error {
	return failure{errno, "[" + errnoName(errno) + "] " + fmt.Sprintf(format, a...)}
}

// missing is the answer about an instance that does not exist:
// [[null, "VM 1 does not exist", 2]].
func missing(format string, a ...any) error {
	return refuse(noAttribute, eNOENT, format, a...)
}
