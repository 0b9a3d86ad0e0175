package truenas

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// A JobID identifies a job in middlewared's memory. It becomes invalid when middlewared restarts.
type JobID int64

// A Job is background work of TrueNAS.
type Job struct {
	ID           JobID
	Method       string
	Arguments    json.RawMessage // a JSON array
	State        string          // JobWaiting, JobRunning, JobSuccess, JobFailed or JobAborted
	Progress     Progress
	Error        string
	Result       json.RawMessage // events may omit it; [Jobs.Get] returns it
	TimeStarted  *time.Time
	TimeFinished *time.Time

	failure failure
}

// failure is the exception of a job as TrueNAS records it.
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

// Done reports whether the job has ended, successfully or not.
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

// Jobs queries and awaits jobs. A key without FULL_ADMIN sees only its own.
type Jobs struct{ c *Client }

var (
	getJobs  = method[[]Job]{jobEvents, read}
	jobAbort = method[none]{"core.job_abort", change}
)

// Get returns the current state of a job with its result, or [ErrNotFound] if TrueNAS does not know
// it (any more).
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

// List returns the jobs that TrueNAS remembers.
func (s Jobs) List(ctx context.Context, filters ...Filter) ([]Job, error) {
	return getJobs.call(ctx, s.c, query(filters)...)
}

// Wait returns when the job has ended. The error is the job's failure, [ErrAborted], or
// [ErrJobLost] if TrueNAS does not know the job any more. Wait calls progress (may be nil) from
// this goroutine. When ctx ends, Wait returns and the job continues.
func (s Jobs) Wait(ctx context.Context, id JobID, progress func(Progress)) (Job, error) {
	return s.c.s.waitJob(ctx, id, "", progress)
}

// Abort requests the end of a job.
func (s Jobs) Abort(ctx context.Context, id JobID) error {
	_, err := jobAbort.call(ctx, s.c, id)
	return err
}

// known returns a job with its arguments, from events if they have arrived.
func (s Jobs) known(ctx context.Context, id JobID) (Job, error) {
	if job, ok := s.c.s.heardOf(id); ok && job.Arguments != nil {
		return job, nil
	}
	return s.Get(ctx, id)
}

// UnmarshalJSON sets the fields present in the data and keeps the rest, since events may carry only
// part of a job.
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

// A wireTime is {"$date": milliseconds}, or a text as in the published models.
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
		return nil // ignore unknown forms: the other fields of the job still count
	}
	if parsed, err := time.Parse(time.RFC3339, text); err == nil {
		t.Time = parsed
	}
	return nil
}
