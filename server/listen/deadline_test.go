package listen

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

func TestHandlersEndBeforeTheirCallers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handle  func(ctx context.Context) error
		code    codes.Code
		earlier time.Duration // before the caller's deadline
	}{
		{"a handler that honours its deadline", func(ctx context.Context) error { <-ctx.Done(); return status.Error(codes.Aborted, "waited for X") }, codes.Aborted, time.Second},
		{"a handler that waits for a change", func(ctx context.Context) error { time.Sleep(time.Minute); return nil }, codes.Unavailable, time.Second / 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				begin := time.Now()
				_, err := WithinDeadline(ctx, nil, func(ctx context.Context, _ any) (any, error) { return nil, tt.handle(ctx) })
				if took := time.Since(begin); status.Code(err) != tt.code || took != 10*time.Second-tt.earlier {
					t.Errorf("got %v after %v", err, took)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// The margin of a handler is a tenth of its caller's time within bounds. A call without a deadline has none.
func TestMargins(t *testing.T) {
	for _, tt := range []struct{ left, margin time.Duration }{
		{50 * time.Millisecond, minMargin}, {100 * time.Millisecond, minMargin}, {10 * time.Second, time.Second}, {time.Hour, maxMargin},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.left)
			defer cancel()
			resp, err := WithinDeadline(ctx, "request", func(ctx context.Context, req any) (any, error) {
				if deadline, _ := ctx.Deadline(); time.Until(deadline) != tt.left-tt.margin {
					t.Errorf("of %v the handler has %v", tt.left, time.Until(deadline))
				}
				return req, errors.New("why")
			})
			if resp != "request" || err == nil || err.Error() != "why" {
				t.Errorf("the caller receives %v, %v", resp, err)
			}
		})
	}
	resp, err := WithinDeadline(context.Background(), "request", func(ctx context.Context, req any) (any, error) {
		if _, ok := ctx.Deadline(); ok {
			t.Error("a call without a deadline has got one")
		}
		return req, nil
	})
	if resp != "request" || err != nil {
		t.Errorf("the caller receives %v, %v", resp, err)
	}
}

// The service's interceptor decides the code that the call log and the caller see.
func TestServiceInterceptorIsInsideTheLog(t *testing.T) {
	core, lines := observer.New(zap.DebugLevel)
	service := func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		resp, err := handle(ctx, req)
		if err != nil {
			err = status.Error(codes.ResourceExhausted, err.Error())
		}
		return resp, err
	}
	s := serve(t, Config{Logger: zap.New(core), Service: service}, stub{describe: func(context.Context) error { return errors.New("full") }}, nil)
	_, err := providerv1.NewProviderClient(s.plain(t)).Describe(within(t), &providerv1.DescribeRequest{Id: "a"})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the caller receives %v", err)
	}
	if got := lines.All(); len(got) != 1 || got[0].ContextMap()["code"] != "ResourceExhausted" {
		t.Errorf("the log has %v", got)
	}
}
