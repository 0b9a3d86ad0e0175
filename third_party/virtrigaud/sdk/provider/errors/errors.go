// Package errors holds the error type that VirtRigaud providers answer with: a gRPC code, a text for people, the cause,
// and whether the same request may succeed when it is repeated.
//
// It stands in for upstream's package of the same import path, with the same names and behaviour. A *ProviderError may be
// returned from a handler as it is, since GRPCStatus makes grpc send its code.
package errors

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// One value per kind of failure, for errors.Is. A ProviderError is one of them when it has the same code.
var (
	ErrInvalidSpec      = &ProviderError{Code: codes.InvalidArgument, Message: "invalid specification"}
	ErrNotFound         = &ProviderError{Code: codes.NotFound, Message: "not found"}
	ErrAlreadyExists    = &ProviderError{Code: codes.AlreadyExists, Message: "already exists"}
	ErrPermissionDenied = &ProviderError{Code: codes.PermissionDenied, Message: "permission denied"}
	ErrUnavailable      = &ProviderError{Code: codes.Unavailable, Message: "unavailable", Retryable: true}
	ErrInternal         = &ProviderError{Code: codes.Internal, Message: "internal error"}
	ErrUnimplemented    = &ProviderError{Code: codes.Unimplemented, Message: "not implemented"}
	ErrTimeout          = &ProviderError{Code: codes.DeadlineExceeded, Message: "timed out", Retryable: true}
	ErrCanceled         = &ProviderError{Code: codes.Canceled, Message: "canceled"}
)

// ProviderError is a failure that knows how it is told to the manager.
type ProviderError struct {
	Code       codes.Code
	Message    string
	Cause      error
	Retryable  bool
	RetryAfter time.Duration
	Details    map[string]interface{}
}

// Error returns the message, followed by the cause when there is one.
func (e *ProviderError) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *ProviderError) Unwrap() error { return e.Cause }

// GRPCStatus is what grpc sends when a handler returns the error.
func (e *ProviderError) GRPCStatus() *status.Status { return status.New(e.Code, e.Error()) }

// Is compares codes, so that errors.Is(err, ErrNotFound) holds for every error of that kind.
func (e *ProviderError) Is(target error) bool {
	other, ok := target.(*ProviderError)
	return ok && other.Code == e.Code
}

// NewInvalidSpec reports a request that can never work. The arguments fill the message as in fmt.Sprintf.
func NewInvalidSpec(message string, args ...interface{}) *ProviderError {
	return &ProviderError{Code: codes.InvalidArgument, Message: sprintf(message, args)}
}

// NewNotFound reports that a thing is not there.
func NewNotFound(resource, id string) *ProviderError {
	return &ProviderError{Code: codes.NotFound, Message: fmt.Sprintf("%s %q not found", resource, id)}
}

// NewAlreadyExists reports that a thing is there already.
func NewAlreadyExists(resource, id string) *ProviderError {
	return &ProviderError{Code: codes.AlreadyExists, Message: fmt.Sprintf("%s %q already exists", resource, id)}
}

// NewPermissionDenied reports that the provider's credentials do not allow an operation.
func NewPermissionDenied(operation string) *ProviderError {
	return &ProviderError{Code: codes.PermissionDenied, Message: "permission denied: " + operation}
}

// NewUnavailable reports that something the provider depends on is away.
func NewUnavailable(service string, cause error) *ProviderError {
	return &ProviderError{Code: codes.Unavailable, Message: service + " is unavailable", Cause: cause, Retryable: true}
}

// NewInternal reports a fault of the provider itself.
func NewInternal(message string, cause error) *ProviderError {
	return &ProviderError{Code: codes.Internal, Message: message, Cause: cause}
}

// NewUnimplemented reports an operation that the provider does not have.
func NewUnimplemented(operation string) *ProviderError {
	return &ProviderError{Code: codes.Unimplemented, Message: operation + " is not implemented"}
}

// NewTimeout reports that an operation took longer than it may.
func NewTimeout(operation string, duration time.Duration) *ProviderError {
	return &ProviderError{
		Code: codes.DeadlineExceeded, Message: fmt.Sprintf("%s timed out after %v", operation, duration), Retryable: true,
	}
}

// NewRateLimit reports that the caller must slow down.
func NewRateLimit(retryAfter time.Duration) *ProviderError {
	return &ProviderError{
		Code: codes.ResourceExhausted, Message: fmt.Sprintf("rate limit exceeded, try again in %v", retryAfter),
		Retryable: true, RetryAfter: retryAfter,
	}
}

// NewCanceled reports that the caller gave up.
func NewCanceled(operation string) *ProviderError {
	return &ProviderError{Code: codes.Canceled, Message: operation + " was canceled"}
}

func sprintf(message string, args []interface{}) string {
	if len(args) == 0 {
		return message
	}
	return fmt.Sprintf(message, args...)
}

// as finds the ProviderError in a chain.
func as(err error) (*ProviderError, bool) {
	var e *ProviderError
	ok := errors.As(err, &e)
	return e, ok
}
