package truenas

import (
	"context"
	"errors"
	"strconv"
	"strings"
)

// The kinds of errors, for [errors.Is].
var (
	ErrNotFound    = errors.New("not found")
	ErrExists      = errors.New("already exists")
	ErrBusy        = errors.New("busy")
	ErrInvalid     = errors.New("invalid")
	ErrNoSpace     = errors.New("not enough space")
	ErrNoMemory    = errors.New("not enough memory")
	ErrPermission  = errors.New("permission denied") // the key lacks a role
	ErrAuth        = errors.New("login refused")     // the key is wrong, expired or revoked
	ErrCertificate = errors.New("certificate not trusted")
	ErrUnavailable = errors.New("TrueNAS is not available")
	ErrUncertain   = errors.New("outcome unknown") // a change was sent and its reply was lost
	ErrUnsupported = errors.New("not supported by this release of TrueNAS")
	ErrNotEmpty    = errors.New("not empty")
	ErrHasClones   = errors.New("has clones")
	ErrHeld        = errors.New("is held")
	ErrJobLost     = errors.New("job is unknown to TrueNAS") // middlewared was restarted
	ErrAborted     = errors.New("job was aborted")
	ErrStalled     = errors.New("upload stalled") // the source delivered no byte for longer than the web server of the NAS waits
	ErrActive      = errors.New("machine is active")
	ErrInactive    = errors.New("machine is not active")
	ErrNoDevice    = errors.New("a device of the machine is missing on the NAS") // at its start
)

// Retryable reports whether the same call may succeed later.
func Retryable(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrBusy)
}

// Transient reports whether the state of TrueNAS or the end of a context caused a failure, and not the request. A change whose
// outcome is uncertain counts as well.
func Transient(err error) bool {
	for _, transient := range []error{ErrUnavailable, ErrUncertain, ErrBusy, ErrJobLost, ErrStalled, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, transient) {
			return true
		}
	}
	return false
}

// An Error is a failed call, login or job, or a call that did not reach TrueNAS. It holds no
// secrets.
type Error struct {
	Method string // "vm.create"; empty when no call was made
	Code   int    // JSON-RPC code: -32602 invalid parameters, -32001 failed call, …
	Errno  int    // as in Linux; 207 is TrueNAS's "not authenticated"
	Name   string // "EFAULT"
	Reason string // in TrueNAS's words where available
	Fields []FieldError
	Job    JobID // of a failed job, or 0

	kind  error // overrides the classifier
	cause error
}

// A FieldError is a parameter that TrueNAS refused.
type FieldError struct {
	Attribute string // "vm_create.memory"; empty for the object itself
	Message   string
	Errno     int
}

func (f FieldError) String() string {
	if f.Attribute == "" {
		return f.Message
	}
	return f.Attribute + ": " + f.Message
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Method != "" {
		b.WriteString(e.Method + ": ")
	}
	if e.Job != 0 {
		b.WriteString("job " + strconv.FormatInt(int64(e.Job), 10) + ": ")
	}
	kind := e.Kind()
	if kind != nil {
		b.WriteString(kind.Error() + ": ")
	}
	switch {
	case len(e.Fields) > 0:
		texts := make([]string, len(e.Fields))
		for i, f := range e.Fields {
			texts[i] = f.String()
		}
		b.WriteString(strings.Join(texts, "; "))
	case e.Reason != "":
		b.WriteString(e.Reason)
	case e.Name != "":
		b.WriteString(e.Name)
	default:
		b.WriteString("failed")
	}
	if role := roleFor(e.Method); kind == ErrPermission && e.Job == 0 && role != "" {
		b.WriteString("; the user of the API key needs the role " + role)
	}
	return shortened(strings.TrimSuffix(b.String(), ": failed"))
}

// maxText limits the length of an error's text in bytes: errors of the NAS have any length and may
// contain a trace.
const maxText = 4096

func shortened(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// Kind returns the matching Err value, or nil.
func (e *Error) Kind() error {
	if e.kind != nil {
		return e.kind
	}
	return classify(e)
}

// Is supports errors.Is(err, ErrNotFound) and the like.
func (e *Error) Is(target error) bool { return target != nil && e.Kind() == target }

func (e *Error) Unwrap() error { return e.cause }
