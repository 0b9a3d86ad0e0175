package truenas

import (
	"context"
	"encoding/json"
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
	State        string          // JobWaiting, JobRunning, JobSuccess, JobFailed, JobAborted
	Progress     Progress
	Error        string
	Result       json.RawMessage
	TimeStarted  *time.Time
	TimeFinished *time.Time

	errType string
	errno   int
	extra   json.RawMessage
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

// Progress of a job; Percent is 0 to 100.
type Progress struct {
	Percent     float64
	Description string
}

// Jobs asks for and waits for jobs. A key without FULL_ADMIN sees its own only.
type Jobs struct{ c *Client }

// Get returns a job as it is now, its result included; [ErrNotFound] when
// TrueNAS does not know it (any more).
func (s Jobs) Get(ctx context.Context, id JobID) (Job, error) { return Job{}, errTODO }

// List returns the jobs that TrueNAS still remembers.
func (s Jobs) List(ctx context.Context, filters ...Filter) ([]Job, error) { return nil, errTODO }

// Wait returns when the job has ended.
func (s Jobs) Wait(ctx context.Context, id JobID, progress func(Progress)) (Job, error) {
	return Job{}, errTODO
}

// Abort asks a job to end.
func (s Jobs) Abort(ctx context.Context, id JobID) error { return errTODO }
