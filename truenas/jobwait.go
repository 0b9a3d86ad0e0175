package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// lookEvery limits how long a waiter relies on events alone. They arrive reliably while the link is up; a rare query costs little
// and covers all other cases.
const lookEvery = time.Minute

// waitJob returns when the job has ended. wanted is its method if known.
func (s *session) waitJob(ctx context.Context, id JobID, wanted string, progress func(Progress)) (job Job, err error) {
	ctx, ended := s.traced(ctx, "job "+wanted)
	defer func() { ended(err) }()
	var w *jobWaiter
	var look bool
	s.update(func(st *state) { w, look = st.jobs.watch(id, wanted) })
	defer s.update(func(st *state) { st.jobs.unwatch(w) })
	var reported Progress
	for {
		if look {
			if err := s.look(ctx, w); err != nil {
				return Job{}, err
			}
		}
		if look, err = w.pause(ctx); err != nil {
			return Job{}, err
		}
		job, err = s.peek(w)
		if err != nil || job.Done() {
			return job, err
		}
		if progress != nil && job.Progress != reported {
			reported = job.Progress
			progress(reported)
		}
	}
}

// pause returns when the job has a new report. look reports that a query is due.
func (w *jobWaiter) pause(ctx context.Context) (look bool, err error) {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-w.wake:
		return false, nil
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return false, fmt.Errorf("waiting for job %d: %w", w.id, ctx.Err())
	}
}

// peek returns the last report of the job. The error is the failure of the job.
func (s *session) peek(w *jobWaiter) (job Job, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case w.last.Done():
		err = w.last.Err()
	case w.lost:
		err = &Error{Method: w.last.Method, Job: w.id, kind: ErrJobLost, Reason: "middlewared may have been restarted"}
	case s.st.closed:
		err = unavailable(errClosed.Error(), errClosed)
	}
	var e *Error
	if errors.As(err, &e) {
		s.redact(e)
	}
	return w.last, err
}

// look queries one job. It ignores an outage, because the next link queries all awaited jobs. If that link exists already, this
// call runs on it.
func (s *session) look(ctx context.Context, w *jobWaiter) error {
	for {
		s.update(func(*state) { w.asks = true })
		err := s.reconcileJobs(ctx, Where("id", w.id), []JobID{w.id})
		again := false
		s.update(func(st *state) { w.asks, again = false, st.link != nil })
		if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return err
		}
		if !again {
			return nil
		}
	}
}

// reconcile queries all awaited jobs once after a link was lost.
func (s *session) reconcile(ids []JobID) {
	if err := s.reconcileJobs(s.ctx, Cond("id", "in", ids), ids); err != nil && s.ctx.Err() == nil {
		s.cfg.Logger.Warn("cannot query the jobs in progress", zap.Error(err))
	}
}

func (s *session) reconcileJobs(ctx context.Context, filter Filter, ids []JobID) error {
	result, err := s.do(ctx, getJobs.name, read, query([]Filter{filter}))
	if err != nil {
		return err
	}
	var jobs []Job
	if err := json.Unmarshal(result, &jobs); err != nil {
		return fmt.Errorf("%s: %w", getJobs.name, err)
	}
	s.update(func(st *state) {
		known := map[JobID]bool{}
		for _, job := range jobs {
			known[job.ID] = true
			st.jobs.learn(job)
		}
		for _, id := range ids {
			if e := st.jobs.seen[id]; !known[id] && (e == nil || !e.heard) {
				st.jobs.missing(id)
			}
		}
	})
	return nil
}

// heardOf returns a job that an event on this link has reported.
func (s *session) heardOf(id JobID) (Job, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.st.jobs.seen[id]
	if e == nil || !e.heard {
		return Job{}, false
	}
	return e.job, true
}
