package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// jobRow is a job in the form of core.get_jobs.
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

// row returns the job's row. The caller holds the lock.
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

// fail describes the failure of the job in TrueNAS's three ways.
func (r *jobRow) fail(err error) {
	wire := onWire(err)
	text := wire.Error()
	trace := "Traceback (most recent call last):\n" + text + "\n"
	exc := &jobException{Type: "VALIDATION", Extra: wire.Extra}
	var one refusal
	var bad invalid
	switch {
	case errors.As(err, &one) && one.attribute == noAttribute:
		exc.Errno, exc.Repr = &one.errno, "InstanceNotFound("+pythonText(one.message)+")"
	case errors.As(err, &one):
		exc.Errno, exc.Repr = &one.errno, fieldError(one).repr()
	case errors.As(err, &bad):
		exc.Repr = bad.repr()
	default:
		exc.Type, exc.Errno, exc.Repr = wire.repr()
	}
	r.Error, r.Exception, r.ExcInfo = &text, &trace, exc
}

func (e fieldError) repr() string {
	return fmt.Sprintf("ValidationError(%s, %s, %d)", pythonText(e.attribute), pythonText(e.message), e.errno)
}

func (v invalid) repr() string {
	all := make([]string, len(v))
	for i, e := range v {
		all[i] = e.repr()
	}
	return "ValidationErrors([" + strings.Join(all, ", ") + "])"
}

// repr returns the class of an error, its number, and Python's text of it, which omits EFAULT, the default.
func (e *CallError) repr() (class string, errno *int, text string) {
	class = e.Class
	if class == "" {
		class = "CallError"
	}
	plain := strings.TrimPrefix(e.Error(), "["+errnoName(e.Errno)+"] ")
	if e.Errno == eFAULT || e.Class != "" {
		return class, &e.Errno, class + "(" + pythonText(plain) + ")"
	}
	return class, &e.Errno, fmt.Sprintf("%s(%s, %d)", class, pythonText(plain), e.Errno)
}

// pythonText formats a text as Python does, in single quotes where possible.
func pythonText(text string) string {
	quote := "'"
	if strings.Contains(text, "'") && !strings.Contains(text, `"`) {
		quote = `"`
	}
	return quote + strings.NewReplacer(`\`, `\\`, "\n", `\n`, quote, `\`+quote).Replace(text) + quote
}
