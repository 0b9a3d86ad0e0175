package sim

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// The states of a job.
const (
	jobWaiting = "WAITING"
	jobRunning = "RUNNING"
	jobSuccess = "SUCCESS"
	jobFailed  = "FAILED"
	jobAborted = "ABORTED"
)

var errAborted = errors.New("the job was aborted")

// job is a call that continues after its id was answered. All of it is guarded
// by the simulator's lock, except what does not change.
type job struct {
	sim    *Sim
	id     int
	owner  *account
	lock   string
	method method
	call   *call
	ctx    context.Context // ends when the job is aborted or forgotten
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the job has reached its last state

	state    string
	gone     bool // forgotten by a restart of the middleware
	percent  *int
	text     *string
	result   json.RawMessage
	err      error
	started  *time.Time
	finished *time.Time
}

// report records the progress of the job and notifies the subscribers. The lock must be
// held.
func (j *job) report(percent float64, text string) {
	whole := int(percent)
	j.percent, j.text = &whole, &text
	j.changed()
}

// changed notifies the subscribers. The lock must be held.
func (j *job) changed() {
	if !j.gone {
		j.sim.emitJob("changed", j)
	}
}

// over reports whether the job has reached its last state.
func (j *job) over() bool {
	return j.state == jobSuccess || j.state == jobFailed || j.state == jobAborted
}

// abort ends the job: at once when it waits, and when it next looks at its
// context when it runs. One whose work cannot be ended (rule 16) is reported as aborted, its lock is
// free, and the work continues; a conversion takes no notice at all from 26 on. The lock must be held.
func (j *job) abort() {
	switch {
	case j.state == jobWaiting:
		j.cancel(errAborted)
		j.settle(jobAborted)
	case !j.method.uninterruptible:
		j.cancel(errAborted)
	case j.sim.release < v26 || j.method.lock == nil:
		j.settle(jobAborted)
		j.sim.jobs.next(j.lock)
	}
}

// settle gives the job its last state. The lock must be held.
func (j *job) settle(state string) {
	now := j.sim.clock.Now()
	j.state, j.finished = state, &now
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
		return // It was aborted, and its work continued until now.
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

// jobs are those that the middleware remembers, oldest first.
type jobs struct {
	last int
	list []*job
}

// remembered is how many jobs middlewared keeps; the oldest finished go first.
const remembered = 1000

// startJob makes a job of a call and answers its id, or the id of another job
// when the queue behind the lock is full. The lock must be held.
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
		method: m, call: c, state: jobWaiting, done: make(chan struct{}),
		percent: new(int), text: new(string),
	}
	j.ctx, j.cancel = context.WithCancelCause(s.ctx)
	c.job = j
	s.jobs.add(j)
	s.emitJob("added", j)
	s.jobs.next(lock)
	return j, nil
}

// coalesce finds the job that absorbs a new one: the last that waits behind
// the lock when as many wait as may. The job of another user absorbs nothing of a
// user who may see only their own.
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

// next starts the jobs that wait without a lock, and the first that waits for
// this one when no other holds it.
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
		if j.lock == lock && j.state == jobWaiting {
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

// find gives the job of that id if the user may see it.
func (js *jobs) find(id int, user *account) (*job, error) {
	for _, j := range js.list {
		if j.id == id && user.sees(j) {
			return j, nil
		}
	}
	return nil, missing("Job with id %d does not exist", id)
}
