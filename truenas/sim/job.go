package sim

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// States of a job.
const (
	jobWaiting = "WAITING"
	jobRunning = "RUNNING"
	jobSuccess = "SUCCESS"
	jobFailed  = "FAILED"
	jobAborted = "ABORTED"
)

var errAborted = errors.New("the job was aborted")

// job is a call that continues after its id was returned. The simulator's lock guards all of it except the fields that never
// change.
type job struct {
	sim    *Sim
	id     int
	owner  *account
	lock   string
	method method
	call   *call
	ctx    context.Context // ends when the job is aborted or forgotten
	cancel context.CancelCauseFunc
	acted  chan struct{} // closed when the job has had its first effect, or has ended; see act
	done   chan struct{} // closed when the job has reached its last state

	state    string
	aborted  bool // it is aborted when its turn comes
	hasActed bool
	gone     bool // forgotten by a restart of the middleware
	percent  *int
	text     *string
	result   json.RawMessage
	err      error
	started  *time.Time
	finished *time.Time
}

// report records the progress of the job and notifies the subscribers. The caller holds the lock.
func (j *job) report(percent float64, text string) {
	whole := int(percent)
	j.percent, j.text = &whole, &text
	j.changed()
}

// changed notifies the subscribers. The caller holds the lock.
func (j *job) changed() {
	if !j.gone {
		j.sim.emitJob("changed", j)
	}
}

// over reports whether the job has ended.
func (j *job) over() bool {
	return j.state == jobSuccess || j.state == jobFailed || j.state == jobAborted
}

// abort ends the job: at the next check of its context while it runs, and when its turn comes while it waits. Until then it waits
// on, and keeps its place in the queue. A job whose work cannot be interrupted (rule 16) is reported as aborted and releases its
// lock, but the work continues. From 26 on such a job ignores the abort, except a replication, whose method is a coroutine. The
// caller holds the lock.
func (j *job) abort() {
	switch {
	case j.state == jobWaiting:
		j.aborted = true
	case !j.method.uninterruptible:
		j.cancel(errAborted)
	case j.sim.release < v26 || j.method.lock == nil:
		j.settle(jobAborted)
		j.sim.jobs.next(j.lock)
	}
}

// act records the first effect of the job. The caller holds the lock.
func (j *job) act() {
	if !j.hasActed {
		j.hasActed = true
		close(j.acted)
	}
}

// settle sets the final state of the job. The caller holds the lock.
func (j *job) settle(state string) {
	now := j.sim.clock.Now()
	j.state, j.finished = state, &now
	j.act()
	close(j.done)
	if state != jobAborted || !j.method.uninterruptible {
		j.cancel(nil)
	}
	if state == jobSuccess && *j.percent != 100 {
		j.report(100, "") // TrueNAS then reports the end twice.
	}
	j.changed()
	if !j.gone {
		j.sim.transcript.job(j)
	}
}

// run does the job's work, without the lock, and settles it.
func (j *job) run() {
	result, err := j.work()
	j.sim.mu.Lock()
	defer j.sim.mu.Unlock()
	if j.over() {
		j.cancel(nil)
		return // The job was aborted earlier, but its work continued until now.
	}
	state := jobSuccess
	switch {
	case err != nil && errors.Is(context.Cause(j.ctx), errAborted):
		state = jobAborted
	case err != nil:
		state, j.err = jobFailed, err
	default:
		j.result = result
	}
	j.settle(state)
	j.sim.jobs.next(j.lock)
}

func (j *job) work() (json.RawMessage, error) {
	result, err := j.method.run(j.call)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

// jobs is the middleware's list of jobs, the oldest first.
type jobs struct {
	last int
	list []*job
}

// remembered is the maximum number of jobs that middlewared keeps. It drops the oldest finished jobs first.
const remembered = 1000

// startJob starts a job for a call and returns it, or another job if the queue behind the lock is full. The caller holds the
// lock.
func (s *Sim) startJob(c *call, m method) (*job, error) {
	lock := ""
	if m.lock != nil {
		lock = m.lock(c)
	}
	if other, err := s.jobs.coalesce(lock, m.queue, c.session.user); other != nil || err != nil {
		return other, err
	}
	s.jobs.last++
	j := &job{
		sim: s, id: s.jobs.last, owner: c.session.user, lock: lock,
		method: m, call: c, state: jobWaiting, acted: make(chan struct{}), done: make(chan struct{}),
		percent: new(int), text: new(string),
	}
	j.ctx, j.cancel = context.WithCancelCause(s.ctx)
	c.job = j
	s.jobs.add(j)
	s.emitJob("added", j)
	s.jobs.next(lock)
	return j, nil
}

// coalesce returns the job that absorbs a new one: the last in a full queue behind the lock. A job of another user absorbs
// nothing from a user who may see only their own jobs.
func (js *jobs) coalesce(lock string, queue int, user *account) (*job, error) {
	if lock == "" || queue == 0 {
		return nil, nil
	}
	var last *job
	waiting := 0
	for _, j := range js.list {
		if j.lock == lock && j.state == jobWaiting {
			waiting++
			if user.sees(j) {
				last = j
			}
		}
	}
	switch {
	case waiting < queue:
		return nil, nil
	case last == nil:
		return nil, fail(eBUSY, "This job is already being performed by another user")
	}
	return last, nil
}

func (js *jobs) add(j *job) {
	if len(js.list) >= remembered {
		for i, old := range js.list {
			if old.over() {
				js.list = append(js.list[:i:i], js.list[i+1:]...)
				break
			}
		}
	}
	js.list = append(js.list, j)
}

// next starts the jobs that wait without a lock, and the first that waits for this lock if no other job holds it.
func (js *jobs) next(lock string) {
	for _, j := range js.list {
		if j.lock != lock {
			continue
		}
		if j.state == jobRunning && lock != "" {
			return
		}
	}
	for _, j := range js.list {
		switch {
		case j.lock != lock || j.state != jobWaiting:
		case j.aborted:
			j.cancel(errAborted)
			j.settle(jobAborted)
		default:
			j.start()
			if lock != "" {
				return
			}
		}
	}
}

func (j *job) start() {
	now := j.sim.clock.Now()
	j.state, j.started = jobRunning, &now
	j.changed()
	j.sim.spawn(j.run)
}

// find returns the job with an id if the user may see it.
func (js *jobs) find(id int, user *account) (*job, error) {
	for _, j := range js.list {
		if j.id == id && user.sees(j) {
			return j, nil
		}
	}
	return nil, missing("Job with id %d does not exist", id)
}
