package errors

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Wrap adds a message to an error and keeps its code. An error without a code becomes Internal; nil stays nil.
func Wrap(err error, message string, args ...interface{}) *ProviderError {
	if err == nil {
		return nil
	}
	wrapped := &ProviderError{Code: codeOf(err), Message: sprintf(message, args), Cause: err, Retryable: IsRetryable(err)}
	var inner *ProviderError
	if errors.As(err, &inner) {
		wrapped.RetryAfter, wrapped.Details = inner.RetryAfter, inner.Details
	}
	return wrapped
}

// ToGRPCError converts any error into one with a gRPC code.
func ToGRPCError(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codeOf(err), err.Error())
}

// FromGRPCError converts the error of a call into a ProviderError. Nil stays nil.
func FromGRPCError(err error) *ProviderError {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return &ProviderError{Code: codes.Internal, Message: err.Error(), Cause: err}
	}
	return &ProviderError{Code: st.Code(), Message: st.Message(), Retryable: retryable(st.Code())}
}

// IsRetryable reports whether a retry of the same request may succeed.
func IsRetryable(err error) bool {
	var e *ProviderError
	if errors.As(err, &e) {
		return e.Retryable
	}
	return retryable(codeOf(err))
}

// IsNotFound reports whether an error means that an object does not exist.
func IsNotFound(err error) bool { return codeOf(err) == codes.NotFound }

// IsInvalidSpec reports whether an error means that a request can never succeed.
func IsInvalidSpec(err error) bool { return codeOf(err) == codes.InvalidArgument }

// codeOf returns the code of a ProviderError, a gRPC status, a sentinel value or a context's error.
func codeOf(err error) codes.Code {
	var e *ProviderError
	if errors.As(err, &e) {
		return e.Code
	}
	if st, ok := status.FromError(err); ok {
		return st.Code()
	}
	for _, plain := range []struct {
		err  error
		code codes.Code
	}{
		{ErrInvalidSpec, codes.InvalidArgument},
		{ErrNotFound, codes.NotFound},
		{ErrAlreadyExists, codes.AlreadyExists},
		{ErrPermissionDenied, codes.PermissionDenied},
		{ErrUnavailable, codes.Unavailable},
		{ErrUnimplemented, codes.Unimplemented},
		{ErrTimeout, codes.DeadlineExceeded},
		{ErrCanceled, codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	} {
		if errors.Is(err, plain.err) {
			return plain.code
		}
	}
	return codes.Internal
}

func retryable(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return true
	}
	return false
}
