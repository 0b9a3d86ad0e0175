package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// jobRow is a job as core.get_jobs shows it.
type jobRow struct {
	ID                  int               `json:"id"`
	MessageIDs          []string          `json:"message_ids"`
	Method              string            `json:"method"`
	Arguments           []json.RawMessage `json:"arguments"`
	Transient           bool              `json:"transient"`
	Description         *string           `json:"description"`
	Abortable           bool              `json:"abortable"`
	LogsPath            *string           `json:"logs_path"`
	LogsExcerpt         *string           `json:"logs_excerpt"`
	Progress            jobProgress       `json:"progress"`
	Result              json.RawMessage   `json:"result"`
	ResultEncodingError *string           `json:"result_encoding_error"`
	Error               *string           `json:"error"`
	Exception           *string           `json:"exception"`
	ExcInfo             *jobException     `json:"exc_info"`
	State               string            `json:"state"`
	TimeStarted         *time.Time        `json:"time_started"`
	TimeFinished        *time.Time        `json:"time_finished"`
	Credentials         jobCredentials    `json:"credentials"`
}

type jobProgress struct {
	Percent     *int    `json:"percent"`
	Description *string `json:"description"`
	Extra       any     `json:"extra"`
}

type jobException struct {
	Repr  string `json:"repr"`
	Type  string `json:"type"`
	Errno *int   `json:"errno"`
	Extra any    `json:"extra"`
}

type jobCredentials struct {
	Type string         `json:"type"`
	Data map[string]any `json:"data"`
}

// row shows the job. The lock must be held.
func (j *job) row() jobRow {
	r := jobRow{
		ID: j.id, MessageIDs: []string{}, Method: j.call.method, Arguments: j.call.params,
		Progress: jobProgress{Percent: j.percent, Description: j.text},
		Result:   j.result, State: j.state, TimeStarted: j.started, TimeFinished: j.finished,
		Credentials: jobCredentials{"API_KEY", map[string]any{"username": j.owner.key.Username}},
	}
	if r.Arguments == nil {
		r.Arguments = []json.RawMessage{}
	}
	if j.err != nil {
		r.fail(j.err)
	}
	return r
}

// fail describes why the job failed, in the three ways TrueNAS does.
func (r *jobRow) fail(err error) {
	wire := onWire(err)
	text := wire.Error()
	trace := "Traceback (most recent call last):\n" + text + "\n"
	exc := &jobException{Type: wire.Class, Extra: wire.Extra}
	var bad invalid
	switch {
	case errors.As(err, &bad):
		exc.Type = "VALIDATION"
		exc.Repr = fmt.Sprintf("ValidationErrors(%q)", text)
	default:
		if exc.Type == "" {
			exc.Type = "CallError"
		}
		exc.Errno = &wire.Errno
		exc.Repr = fmt.Sprintf("%s(%q)", exc.Type, text)
	}
	r.Error, r.Exception, r.ExcInfo = &text, &trace, exc
}
