package truenas

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// A JobID names a job in middlewared's memory; it means nothing after
// middlewared restarts.
type JobID int64

// A Job is work that TrueNAS does in the background.
type Job struct {
	ID           JobID
	Method       string
	Arguments    json.RawMessage // a JSON array
	State        string          // JobWaiting, JobRunning, JobSuccess, JobFailed or JobAborted
	Progress     Progress
	Error        string
	Result       json.RawMessage // events may leave it out; [Jobs.Get] has it
	TimeStarted  *time.Time
	TimeFinished *time.Time

	failure failure
}

// failure is what TrueNAS keeps of a job's exception.
type failure struct {
	Type  *string         `json:"type"`
	Errno *int            `json:"errno"`
	Extra json.RawMessage `json:"extra"`
}

// States of a job.
const (
	JobWaiting = "WAITING"
	JobRunning = "RUNNING"
	JobSuccess = "SUCCESS"
	JobFailed  = "FAILED"
	JobAborted = "ABORTED"
)

// Done reports whether the job has come to an end, good or bad.
func (j Job) Done() bool {
	return j.State == JobSuccess || j.State == JobFailed || j.State == JobAborted
}

// Err is nil unless the job failed or was aborted.
func (j Job) Err() error {
	switch j.State {
	case JobAborted:
		return &Error{Method: j.Method, Job: j.ID, Reason: j.Error, kind: ErrAborted}
	case JobFailed:
		e := &Error{Method: j.Method, Job: j.ID, Reason: j.Error, Fields: fieldErrors(j.failure.Extra)}
		if j.failure.Type != nil && *j.failure.Type == matchNotFound {
			e.Name = matchNotFound
		}
		if j.failure.Errno != nil {
			e.Errno = *j.failure.Errno
		}
		return e
	}
	return nil
}

// Progress of a job; Percent is 0 to 100.
type Progress struct {
	Percent     float64
	Description string
}

// Jobs asks for and waits for jobs. A key without FULL_ADMIN sees its own only.
type Jobs struct{ c *Client }

var (
	getJobs  = method[[]Job]{jobEvents, read}
	jobAbort = method[none]{"core.job_abort", change}
)

// Get returns a job as it is now, its result included; [ErrNotFound] when
// TrueNAS does not know it (any more).
func (s Jobs) Get(ctx context.Context, id JobID) (Job, error) {
	found, err := s.List(ctx, Where("id", id))
	if err != nil {
		return Job{}, err
	}
	if len(found) == 0 {
		return Job{}, fmt.Errorf("job %d: %w", id, ErrNotFound)
	}
	return found[0], nil
}

// List returns the jobs that TrueNAS still remembers.
func (s Jobs) List(ctx context.Context, filters ...Filter) ([]Job, error) {
	return getJobs.call(ctx, s.c, query(filters)...)
}

// Wait returns when the job has ended: its failure is the error, [ErrAborted]
// when somebody ended it, [ErrJobLost] when TrueNAS knows it no more. progress
// (may be nil) is called from this goroutine. When ctx ends, the waiting ends
// and the job goes on.
func (s Jobs) Wait(ctx context.Context, id JobID, progress func(Progress)) (Job, error) {
	return s.c.s.waitJob(ctx, id, "", progress)
}

// Abort asks a job to end.
func (s Jobs) Abort(ctx context.Context, id JobID) error {
	_, err := jobAbort.call(ctx, s.c, id)
	return err
}

// known is a job with its arguments, from its events where those have come.
func (s Jobs) known(ctx context.Context, id JobID) (Job, error) {
	if job, ok := s.c.s.heardOf(id); ok && job.Arguments != nil {
		return job, nil
	}
	return s.Get(ctx, id)
}

// UnmarshalJSON sets what the data has and leaves the rest, since events may
// tell a part.
func (j *Job) UnmarshalJSON(data []byte) error {
	var w struct {
		ID        *JobID          `json:"id"`
		Method    *string         `json:"method"`
		Arguments json.RawMessage `json:"arguments"`
		State     *string         `json:"state"`
		Progress  *struct {
			Percent     *float64 `json:"percent"`
			Description *string  `json:"description"`
		} `json:"progress"`
		Error    *string         `json:"error"`
		Result   json.RawMessage `json:"result"`
		Failure  *failure        `json:"exc_info"`
		Started  *wireTime       `json:"time_started"`
		Finished *wireTime       `json:"time_finished"`
	}
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	set(&j.ID, w.ID)
	set(&j.Method, w.Method)
	set(&j.State, w.State)
	set(&j.Error, w.Error)
	set(&j.failure, w.Failure)
	if w.Progress != nil {
		set(&j.Progress.Percent, w.Progress.Percent)
		set(&j.Progress.Description, w.Progress.Description)
	}
	if compact := new(bytes.Buffer); len(w.Arguments) > 0 && json.Compact(compact, w.Arguments) == nil {
		j.Arguments = compact.Bytes()
	}
	if len(w.Result) > 0 && string(w.Result) != "null" {
		j.Result = w.Result
	}
	setTime(&j.TimeStarted, w.Started)
	setTime(&j.TimeFinished, w.Finished)
	return nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func setTime(to **time.Time, from *wireTime) {
	if from != nil && !from.IsZero() {
		*to = &from.Time
	}
}

// A wireTime is {"$date": milliseconds}, or text as the models have it.
type wireTime struct{ time.Time }

func (t *wireTime) UnmarshalJSON(data []byte) error {
	var date struct {
		Milliseconds *int64 `json:"$date"`
	}
	if json.Unmarshal(data, &date) == nil && date.Milliseconds != nil {
		t.Time = time.UnixMilli(*date.Milliseconds).UTC()
		return nil
	}
	var text string
	if json.Unmarshal(data, &text) != nil {
		return nil // a form that is not known says nothing; a job is more than its times
	}
	if parsed, err := time.Parse(time.RFC3339, text); err == nil {
		t.Time = parsed
	}
	return nil
}
