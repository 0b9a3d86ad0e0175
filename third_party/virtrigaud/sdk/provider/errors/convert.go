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
	wrapped := &ProviderError{Code: codes.Internal, Message: sprintf(message, args), Cause: err}
	if inner, ok := as(err); ok {
		wrapped.Code, wrapped.Retryable, wrapped.RetryAfter, wrapped.Details = inner.Code, inner.Retryable, inner.RetryAfter, inner.Details
	}
	return wrapped
}

// ToGRPCError turns any error into one that grpc sends with a fitting code.
func ToGRPCError(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := as(err); ok {
		return status.Error(e.Code, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
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

// IsRetryable says whether the same request may succeed when it is repeated.
func IsRetryable(err error) bool {
	if e, ok := as(err); ok {
		return e.Retryable
	}
	st, ok := status.FromError(err)
	return ok && retryable(st.Code())
}

// IsNotFound says whether an error means that a thing is not there.
func IsNotFound(err error) bool { return is(err, codes.NotFound) }

// IsInvalidSpec says whether an error means that a request can never work.
func IsInvalidSpec(err error) bool { return is(err, codes.InvalidArgument) }

func is(err error, code codes.Code) bool {
	if e, ok := as(err); ok {
		return e.Code == code
	}
	return err != nil && status.Code(err) == code
}

func retryable(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return true
	}
	return false
}
