package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// release is a generation of TrueNAS. Releases are ordered, so "since 25.10" is a comparison.
type release int

// The releases that the simulator supports. The zero value means "no limit" in a method.
const (
	v25_04_2 release = iota + 1
	v25_10
	v26
	v27
)

// method is an entry of the method table: its roles, how it runs, and its work.
type method struct {
	since release // the first release that has it; zero: all
	until release // the last release that has it; zero: all later ones

	early []string // up to 25.04.2: other roles than those below
	roles []string // any one of these lets a session call it; empty: any session
	open  release  // the first release that allows it before login; zero: none

	job             bool
	lock            func(c *call) string // "" means none; the jobs of one lock run one at a time
	uninterruptible bool                 // an abort does not end its work
	queue           int                  // maximum of jobs waiting for the lock; 0: no limit
	input           bool                 // reads uploaded bytes from c.body
	output          bool                 // writes a download to c.out

	// run does the work. A plain method runs with s.mu held. A job runs in its own goroutine without the lock, and takes it by
	// c.locked.
	run func(c *call) (any, error)
}

// in reports whether the release has the method.
func (m method) in(r release) bool {
	return r >= m.since && (m.until == 0 || r <= m.until)
}

// call is a request in progress.
type call struct {
	sim     *Sim
	session *session
	method  string
	params  []json.RawMessage
	job     *job      // nil unless the method is a job
	body    io.Reader // uploaded bytes
	out     io.Writer // the download

	takes  time.Duration // how long the job takes on the simulator's clock
	fails  error         // error of the job after that time
	half   bool          // destroy one dataset of a tree and report all as destroyed
	during func()        // runs between the checks and the work; may be nil
}

// overlap lets other calls run before this one continues, so that earlier checks may be outdated. The caller holds the lock.
func (c *call) overlap() {
	if c.during == nil {
		return
	}
	c.sim.mu.Unlock()
	c.during()
	c.sim.mu.Lock()
}

// release returns the simulated release.
func (c *call) release() release { return c.sim.release }

// now returns the time of the simulator's clock.
func (c *call) now() time.Time { return c.sim.clock.Now() }

// locked runs fn with the simulator's lock held. Only jobs need it.
func (c *call) locked(fn func()) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	fn()
}

// progress reports the progress of a job, from 0 to 100 percent. It takes the lock.
func (c *call) progress(percent float64, text string) {
	c.locked(func() { c.job.report(percent, text) })
}

// sleep waits on the simulator's clock. It returns early, with an error, when the job is aborted or the simulator is closed.
func (c *call) sleep(d time.Duration) error { return c.sim.sleep(c.job.ctx, d) }

// linger waits for the duration of the job.
func (c *call) linger() error {
	d, fails := c.takes, c.fails
	c.takes, c.fails = 0, nil
	if err := c.sleep(d); err != nil {
		return err
	}
	return fails
}

// noAttribute replaces a missing argument name: null in extra, "None" in the text.
const noAttribute = "None"

// fieldError is a validation error of one argument. The attribute is a dotted path such as "vm_create.memory".
type fieldError struct {
	attribute string
	message   string
	errno     int
}

func (e fieldError) text() string {
	return "[" + errnoName(e.errno) + "] " + e.attribute + ": " + e.message
}

// invalid collects validation errors. It is sent as -32602.
type invalid []fieldError

// add appends a validation error.
func (v *invalid) add(attribute string, errno int, format string, a ...any) {
	*v = append(*v, fieldError{attribute, fmt.Sprintf(format, a...), errno})
}

// err returns nil if there are no validation errors.
func (v invalid) err() error {
	if len(v) == 0 {
		return nil
	}
	return v
}

// Error joins the validation errors in TrueNAS's format: each ends in a newline.
func (v invalid) Error() string {
	text := ""
	for _, e := range v {
		text += e.text() + "\n"
	}
	return text
}

// refusal is a single validation error that TrueNAS raises by itself. It is sent as -32602 too, but its text has no newline.
type refusal fieldError

// refuse makes a refusal.
func refuse(attribute string, errno int, format string, a ...any) error {
	return refusal{attribute, fmt.Sprintf(format, a...), errno}
}

func (r refusal) Error() string { return fieldError(r).text() }

// As converts a refusal to a list of one validation error.
func (r refusal) As(target any) bool {
	v, ok := target.(*invalid)
	if ok {
		*v = invalid{fieldError(r)}
	}
	return ok
}

// failure is a valid call that failed. It is sent as -32001. The reason begins with the errno's name in brackets.
type failure struct {
	errno  int
	reason string
}

func (f failure) Error() string { return f.reason }

// fail makes a failure: fail(eFAULT, "text") has the reason "[EFAULT] text".
func fail(errno int, format string, a ...any) error {
	return failure{errno, "[" + errnoName(errno) + "] " + fmt.Sprintf(format, a...)}
}

// missing is the error for an instance that does not exist: [[null, "VM 1 does not exist", 2]].
func missing(format string, a ...any) error {
	return refuse(noAttribute, eNOENT, format, a...)
}
