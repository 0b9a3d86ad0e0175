// Package refusal makes the errors with which the RPCs refuse a request: each has its gRPC code, and some have a reason that a
// manager of line 0.4 evaluates.
//
// [InvalidArgument], [FailedPrecondition], [AlreadyExists] and [Aborted] are for requests that the caller or the user of the
// NAS has to change. A [Fault] is a failure of a known kind, such as [ErrDiskInUse]; package server has the one table that maps
// its kinds, the errors of the client and the errors of the image pipeline to codes and reasons. This package depends on
// neither of them, so that packages which only read requests can refuse them.
package refusal

import (
	"fmt"

	"google.golang.org/grpc/codes"

	sdkerrors "github.com/projectbeskar/virtrigaud/sdk/provider/errors"
)

// New returns an error with this code and message.
func New(code codes.Code, format string, args ...any) error {
	return &sdkerrors.ProviderError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// InvalidArgument names the wrong field of a request and the allowed values.
func InvalidArgument(field, format string, args ...any) error {
	return New(codes.InvalidArgument, "%s: %s", field, fmt.Sprintf(format, args...))
}

// FailedPrecondition refuses a valid request because of the state of the NAS or of a VM.
func FailedPrecondition(format string, args ...any) error {
	return New(codes.FailedPrecondition, format, args...)
}

// AlreadyExists refuses a name that another object has.
func AlreadyExists(format string, args ...any) error {
	return New(codes.AlreadyExists, format, args...)
}

// Aborted reports that another call or replica changes the same object; the caller can retry.
func Aborted(format string, args ...any) error {
	return New(codes.Aborted, format, args...)
}

// Fault is a failure of a known kind. It has the text of its cause; its kind decides the code and the reason.
type Fault struct {
	Kind  error // one of the errors of this package
	Cause error
}

// Error returns the text of the cause.
func (f Fault) Error() string { return f.Cause.Error() }

// Unwrap returns the kind and the cause.
func (f Fault) Unwrap() []error { return []error{f.Kind, f.Cause} }

// Faultf returns a [Fault] of this kind whose cause has the given text.
func Faultf(kind error, format string, args ...any) error {
	return Fault{kind, fmt.Errorf(format, args...)}
}

// InUse refuses to remove an object that is in use. Its kind is [ErrDiskInUse].
func InUse(format string, args ...any) error { return Faultf(ErrDiskInUse, format, args...) }
