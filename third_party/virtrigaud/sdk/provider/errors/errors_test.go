package errors

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestConstructors(t *testing.T) {
	cause := errors.New("no route")
	for _, tt := range []struct {
		name  string
		err   *ProviderError
		code  codes.Code
		text  string
		retry bool
		plain error
	}{
		{"invalid", NewInvalidSpec("cpu %d", 0), codes.InvalidArgument, "cpu 0", false, ErrInvalidSpec},
		{"percent sign without arguments", NewInvalidSpec("100% wrong"), codes.InvalidArgument, "100% wrong", false, ErrInvalidSpec},
		{"not found", NewNotFound("vm", "a"), codes.NotFound, `vm "a" not found`, false, ErrNotFound},
		{"exists", NewAlreadyExists("vm", "a"), codes.AlreadyExists, `vm "a" already exists`, false, ErrAlreadyExists},
		{"permission", NewPermissionDenied("delete"), codes.PermissionDenied, "permission denied: delete", false, ErrPermissionDenied},
		{"unavailable", NewUnavailable("nas", cause), codes.Unavailable, "nas is unavailable: no route", true, ErrUnavailable},
		{"internal", NewInternal("broken", cause), codes.Internal, "broken: no route", false, ErrInternal},
		{"unimplemented", NewUnimplemented("clone"), codes.Unimplemented, "clone is not implemented", false, ErrUnimplemented},
		{"timeout", NewTimeout("stop", time.Second), codes.DeadlineExceeded, "stop timed out after 1s", true, ErrTimeout},
		{"canceled", NewCanceled("stop"), codes.Canceled, "stop was canceled", false, ErrCanceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wrapped := fmt.Errorf("outer: %w", tt.err)
			if tt.err.Code != tt.code || tt.err.Error() != tt.text {
				t.Errorf("got %v %q, want %v %q", tt.err.Code, tt.err.Error(), tt.code, tt.text)
			}
			if got := status.Code(ToGRPCError(fmt.Errorf("outer: %w", tt.plain))); got != tt.code {
				t.Errorf("the sentinel value is sent as %v, want %v", got, tt.code)
			}
			if IsRetryable(wrapped) != tt.retry {
				t.Errorf("want the opposite of retryable %v", tt.retry)
			}
			if got := status.Code(ToGRPCError(wrapped)); got != tt.code {
				t.Errorf("sent as %v, want %v", got, tt.code)
			}
			if got := tt.err.GRPCStatus(); got.Code() != tt.code || got.Message() != tt.text {
				t.Errorf("status %v", got)
			}
		})
	}
}

func TestRateLimitReportsDelay(t *testing.T) {
	err := NewRateLimit(3 * time.Second)
	if err.Code != codes.ResourceExhausted || err.RetryAfter != 3*time.Second || !IsRetryable(err) {
		t.Errorf("got %+v", err)
	}
}

func TestConversions(t *testing.T) {
	if Wrap(nil, "x") != nil || ToGRPCError(nil) != nil || FromGRPCError(nil) != nil || IsRetryable(nil) || IsNotFound(nil) {
		t.Error("nil does not stay nil")
	}
	if err := Wrap(NewNotFound("vm", "a"), "describe %d", 1); !IsNotFound(err) || err.Error() != `describe 1: vm "a" not found` {
		t.Errorf("wrap: %v", err)
	}
	if err := Wrap(errors.New("plain"), "x"); err.Code != codes.Internal {
		t.Errorf("a plain error became %v", err.Code)
	}
	if err := FromGRPCError(status.Error(codes.Unavailable, "away")); !err.Retryable || err.Message != "away" {
		t.Errorf("from grpc: %+v", err)
	}
	if err := FromGRPCError(errors.New("plain")); err.Code != codes.Internal {
		t.Errorf("a plain error became %v", err.Code)
	}
	if !IsInvalidSpec(status.Error(codes.InvalidArgument, "x")) {
		t.Error("a status is not recognized")
	}
	for err, want := range map[error]codes.Code{
		context.DeadlineExceeded: codes.DeadlineExceeded, context.Canceled: codes.Canceled, errors.New("plain"): codes.Internal,
		status.Error(codes.Aborted, "x"): codes.Aborted,
	} {
		if got := status.Code(ToGRPCError(err)); got != want {
			t.Errorf("%v: sent as %v, want %v", err, got, want)
		}
	}
}
