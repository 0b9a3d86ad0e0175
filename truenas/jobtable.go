package truenas

import (
	"bytes"
	"encoding/json"
	"slices"
)

// remembered limits the jobs kept from events, so that waiting for an ended job makes no call.
const remembered = 512

// A jobTable holds the reports of jobs on the current link. An event may arrive before the reply with the job's id. The table is
// part of the session's state.
type jobTable struct {
	seen    map[JobID]*jobEntry
	order   []JobID
	waiting map[JobID][]*jobWaiter
	ended   []Job // to report to the hook once the state has changed
}

type jobEntry struct {
	job      Job
	heard    bool // reported by an event or a reply
	ours     bool // started on this link, so that its events are certain to arrive
	reported bool // its end was reported to the hook
}

// A jobWaiter is one Wait. Its fields are guarded by the session's lock.
type jobWaiter struct {
	id   JobID
	last Job // last report, on any link
	lost bool
	asks bool // its own query is in flight and repeats until it has a reply
	wake chan struct{}
}

func newJobTable() jobTable {
	return jobTable{seen: map[JobID]*jobEntry{}, waiting: map[JobID][]*jobWaiter{}}
}

// restart forgets the reports of the last link, because middlewared may have restarted and reuses ids from 1. It returns the ids
// of awaited jobs.
func (t *jobTable) restart() []JobID {
	t.seen, t.order = map[JobID]*jobEntry{}, nil
	var ids []JobID
	for id, waiters := range t.waiting {
		if slices.ContainsFunc(waiters, func(w *jobWaiter) bool { return !w.asks }) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (t *jobTable) entry(id JobID) *jobEntry {
	e := t.seen[id]
	if e != nil {
		return e
	}
	e = &jobEntry{}
	t.seen[id] = e
	t.order = append(t.order, id)
	if len(t.order) > remembered {
		delete(t.seen, t.order[0])
		t.order = t.order[1:]
	}
	return e
}

// began records the job id in the reply to a call.
func (t *jobTable) began(result json.RawMessage) {
	var id JobID
	if json.Unmarshal(result, &id) == nil {
		t.claim(id)
	}
}

// claim records that a job is this client's own.
func (t *jobTable) claim(id JobID) {
	e := t.entry(id)
	e.ours = true
	t.reportEnd(id, e)
}

// reportEnd reports once that a job of interest to this client has ended.
func (t *jobTable) reportEnd(id JobID, e *jobEntry) {
	if e.job.Done() && !e.reported && (e.ours || len(t.waiting[id]) > 0) {
		e.reported = true
		t.ended = append(t.ended, e.job)
	}
}

// heard handles an event of core.get_jobs, which may carry only part of the job.
func (t *jobTable) heard(e Event) {
	if e.Kind == EventRemoved || len(e.Fields) == 0 {
		return
	}
	job := t.entry(JobID(e.ID)).job
	if json.Unmarshal(e.Fields, &job) == nil {
		job.ID = JobID(e.ID)
		t.learn(job)
	}
}

// learn never moves a job from done to running, because a reply may be older than an event that arrived before it.
func (t *jobTable) learn(job Job) {
	entry := t.entry(job.ID)
	if entry.heard && entry.job.Done() && !job.Done() {
		return
	}
	entry.job, entry.heard = job, true
	t.reportEnd(job.ID, entry)
	for _, w := range t.waiting[job.ID] {
		w.hear(job)
	}
}

func (w *jobWaiter) hear(job Job) {
	if sameJob(w.last, job) {
		w.last = job
	} else {
		w.lost = true // another job has the id now
	}
	wake(w.wake)
}

// sameJob reports whether two reports with one id can be of the same job. After a restart another job may have the id. Unknown
// fields match any value.
func sameJob(a, b Job) bool {
	return (a.Method == "" || b.Method == "" || a.Method == b.Method) &&
		(a.Arguments == nil || b.Arguments == nil || bytes.Equal(a.Arguments, b.Arguments)) &&
		(a.TimeStarted == nil || b.TimeStarted == nil || a.TimeStarted.Equal(*b.TimeStarted))
}

// missing marks a job that TrueNAS does not know any more.
func (t *jobTable) missing(id JobID) {
	for _, w := range t.waiting[id] {
		w.lost = true
		wake(w.wake)
	}
}

func (t *jobTable) wakeAll() {
	for _, waiters := range t.waiting {
		for _, w := range waiters {
			wake(w.wake)
		}
	}
}

// watch registers a waiter. look reports that the job must be queried, because the client may have missed an event.
func (t *jobTable) watch(id JobID, wanted string) (w *jobWaiter, look bool) {
	w = &jobWaiter{id: id, last: Job{Method: wanted}, asks: true, wake: make(chan struct{}, 1)}
	t.waiting[id] = append(t.waiting[id], w)
	e := t.seen[id]
	if e == nil {
		return w, true
	}
	if e.heard {
		w.hear(e.job)
	}
	w.asks = !e.heard && !e.ours
	return w, w.asks
}

func (t *jobTable) unwatch(w *jobWaiter) {
	left := slices.DeleteFunc(t.waiting[w.id], func(o *jobWaiter) bool { return o == w })
	if len(left) == 0 {
		delete(t.waiting, w.id)
	} else {
		t.waiting[w.id] = left
	}
}
