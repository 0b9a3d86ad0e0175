// Package errors holds the error type of VirtRigaud providers: a gRPC code, a text for users, the cause, and whether a
// retry of the same request may succeed.
//
// It replaces upstream's package of the same import path, with the same names and behaviour. A handler may return
// a *ProviderError unchanged, because grpc sends the code of GRPCStatus.
package errors

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// One sentinel value per kind of failure, for code without further details. ToGRPCError, Wrap and the Is functions know their
// codes.
var (
	ErrInvalidSpec      = errors.New("invalid specification")
	ErrNotFound         = errors.New("not found")
	ErrAlreadyExists    = errors.New("already exists")
	ErrPermissionDenied = errors.New("permission denied")
	ErrUnavailable      = errors.New("unavailable")
	ErrInternal         = errors.New("internal error")
	ErrUnimplemented    = errors.New("not implemented")
	ErrTimeout          = errors.New("timed out")
	ErrCanceled         = errors.New("canceled")
)

// ProviderError is a failure with its code and message for the manager.
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

// GRPCStatus returns the status that grpc sends when a handler returns the error.
func (e *ProviderError) GRPCStatus() *status.Status { return status.New(e.Code, e.Error()) }

// NewInvalidSpec reports a request that can never succeed. The arguments fill the message as in fmt.Sprintf.
func NewInvalidSpec(message string, args ...interface{}) *ProviderError {
	return &ProviderError{Code: codes.InvalidArgument, Message: sprintf(message, args)}
}

// NewNotFound reports that an object does not exist.
func NewNotFound(resource, id string) *ProviderError {
	return &ProviderError{Code: codes.NotFound, Message: fmt.Sprintf("%s %q not found", resource, id)}
}

// NewAlreadyExists reports that an object already exists.
func NewAlreadyExists(resource, id string) *ProviderError {
	return &ProviderError{Code: codes.AlreadyExists, Message: fmt.Sprintf("%s %q already exists", resource, id)}
}

// NewPermissionDenied reports that the provider's credentials do not allow an operation.
func NewPermissionDenied(operation string) *ProviderError {
	return &ProviderError{Code: codes.PermissionDenied, Message: "permission denied: " + operation}
}

// NewUnavailable reports that a dependency of the provider is unavailable.
func NewUnavailable(service string, cause error) *ProviderError {
	return &ProviderError{Code: codes.Unavailable, Message: service + " is unavailable", Cause: cause, Retryable: true}
}

// NewInternal reports a fault of the provider itself.
func NewInternal(message string, cause error) *ProviderError {
	return &ProviderError{Code: codes.Internal, Message: message, Cause: cause}
}

// NewUnimplemented reports an operation that the provider does not support.
func NewUnimplemented(operation string) *ProviderError {
	return &ProviderError{Code: codes.Unimplemented, Message: operation + " is not implemented"}
}

// NewTimeout reports that an operation exceeded its time limit.
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

// NewCanceled reports that the caller canceled the operation.
func NewCanceled(operation string) *ProviderError {
	return &ProviderError{Code: codes.Canceled, Message: operation + " was canceled"}
}

func sprintf(message string, args []interface{}) string {
	if len(args) == 0 {
		return message
	}
	return fmt.Sprintf(message, args...)
}
