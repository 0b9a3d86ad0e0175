package sim

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Codes of JSON-RPC errors. The last three are TrueNAS's own.
const (
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeInvalidParams  = -32602
	codeTooMany        = -32000
	codeCallFailed     = -32001
)

// CallError is an error in the form of the protocol.
type CallError struct {
	Code    int    // of JSON-RPC; 0: -32001, a failed call
	Message string // of JSON-RPC; derived from the code when empty
	Errno   int    // 0: the error has no data
	Reason  string // such as "[EFAULT] text"
	Extra   any    // [[attribute, message, errno], …] for -32602
	Class   string // the Python class in the trace; empty: "CallError"
}

func (e *CallError) Error() string {
	if e.Reason != "" {
		return e.Reason
	}
	return e.Message
}

// errorData is TrueNAS's data of an error.
type errorData struct {
	Error   int         `json:"error"`
	Errname string      `json:"errname"`
	Reason  string      `json:"reason"`
	Trace   *errorTrace `json:"trace"`
	Extra   any         `json:"extra"`
}

type errorTrace struct {
	Class     string     `json:"class"`
	Frames    []struct{} `json:"frames"`
	Formatted string     `json:"formatted"`
	Repr      string     `json:"repr"`
}

// MarshalJSON returns the JSON-RPC error object.
func (e *CallError) MarshalJSON() ([]byte, error) {
	out := struct {
		Code    int        `json:"code"`
		Message string     `json:"message"`
		Data    *errorData `json:"data,omitempty"`
	}{Code: e.Code, Message: e.Message}
	if out.Code == 0 {
		out.Code = codeCallFailed
	}
	if out.Message == "" {
		out.Message = defaultMessage(out.Code)
	}
	if e.Errno != 0 {
		out.Data = &errorData{e.Errno, errnoName(e.Errno), e.Reason, e.trace(out.Code), e.Extra}
	}
	return json.Marshal(out)
}

// trace returns the trace that TrueNAS sends with a failed call. Invalid calls have none.
func (e *CallError) trace(code int) *errorTrace {
	if code != codeCallFailed {
		return nil
	}
	class := e.Class
	if class == "" {
		class = "CallError"
	}
	return &errorTrace{
		Class: class, Frames: []struct{}{},
		Formatted: "Traceback (most recent call last):\n" + class + ": " + e.Reason + "\n",
		Repr:      class + "()",
	}
}

func defaultMessage(code int) string {
	switch code {
	case codeInvalidRequest:
		return "Invalid Request"
	case codeNoMethod:
		return "Method does not exist"
	case codeInvalidParams:
		return "Invalid params"
	case codeTooMany:
		return "Too many concurrent calls"
	}
	return "Method call error"
}

// onWire converts an error of a method into the form of the protocol. Errors of unknown types become uncaught exceptions.
func onWire(err error) *CallError {
	var (
		call *CallError
		bad  invalid
		fell failure
	)
	switch {
	case errors.As(err, &call):
		return call
	case errors.As(err, &bad):
		return &CallError{Code: codeInvalidParams, Errno: eINVAL, Reason: err.Error(), Extra: bad.extra()}
	case errors.As(err, &fell):
		return &CallError{Errno: fell.errno, Reason: fell.reason}
	}
	return &CallError{Errno: eINVAL, Reason: err.Error(), Class: "RuntimeError"}
}

// extra lists the validation errors as [attribute, message, errno].
func (v invalid) extra() [][3]any {
	out := make([][3]any, len(v))
	for i, e := range v {
		out[i] = [3]any{e.attribute, e.message, e.errno}
		if e.attribute == noAttribute {
			out[i][0] = nil
		}
	}
	return out
}

// uncaught is a Python exception that TrueNAS does not catch. It is sent as -32001 with its plain text.
func uncaught(class, format string, a ...any) error {
	return &CallError{Errno: eINVAL, Reason: fmt.Sprintf(format, a...), Class: class}
}

// matchNotFound is the error of a query for exactly one row that finds none. On a NAS it is not a CallError, so its errno is not
// ENOENT.
func matchNotFound() error { return uncaught("MatchNotFound", "MatchNotFound()") }
