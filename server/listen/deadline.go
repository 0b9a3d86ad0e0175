package listen

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The margin between the deadline of a handler and that of its caller: a tenth of the time left, within these bounds.
const (
	minMargin = 10 * time.Millisecond
	maxMargin = 2 * time.Second
)

// WithinDeadline runs a handler with a deadline a little earlier than its caller's, so that a caller of a slow NAS receives
// an error with the reason of the delay. Some handlers continue after their deadline, because TrueNAS may still complete a
// sent change: they keep their lock on the VM. Then the caller gets Unavailable, and the handler continues.
func WithinDeadline(ctx context.Context, req any, handle grpc.UnaryHandler) (any, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return handle(ctx, req)
	}
	margin := min(max(time.Until(deadline)/10, minMargin), maxMargin)
	ending, cancel := context.WithDeadline(ctx, deadline.Add(-margin))
	type result struct {
		resp any
		err  error
	}
	handled := make(chan result, 1)
	go func() {
		defer cancel()
		resp, err := handle(ending, req)
		handled <- result{resp, err}
	}()
	late := time.NewTimer(time.Until(deadline) - margin/2)
	defer late.Stop()
	select {
	case r := <-handled:
		return r.resp, r.err
	case <-late.C:
		return nil, status.Error(codes.Unavailable, "TrueNAS is slow: a change is still pending on the NAS")
	}
}
