package errors

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Wrap puts a message in front of an error and keeps its code. An error without a code becomes Internal, nil stays nil.
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

// ToGRPCError turns any error into one that grpc sends with a fitting code.
func ToGRPCError(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codeOf(err), err.Error())
}

// FromGRPCError is the other direction: what a client makes of a call's error. Nil stays nil.
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

// IsRetryable reports whether the same request may succeed when it is repeated.
func IsRetryable(err error) bool {
	var e *ProviderError
	if errors.As(err, &e) {
		return e.Retryable
	}
	return retryable(codeOf(err))
}

// IsNotFound reports whether an error means that a thing is not there.
func IsNotFound(err error) bool { return codeOf(err) == codes.NotFound }

// IsInvalidSpec reports whether an error means that a request can never work.
func IsInvalidSpec(err error) bool { return codeOf(err) == codes.InvalidArgument }

// codeOf reads the code of a ProviderError, of a gRPC status, of one of the plain values or of a context's error.
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
