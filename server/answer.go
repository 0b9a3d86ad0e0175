package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What is kept back of a caller's time: a tenth, within bounds.
const (
	leastMargin = 10 * time.Millisecond
	mostMargin  = 2 * time.Second
)

// inTime ends a handler's time a little before its caller's. When the NAS is slow, the caller hears
// what was waited for, instead of nothing. A handler that goes on all the same waits for a change
// that the NAS was sent and may yet make: it keeps others from that VM, and its caller is told.
func inTime(ctx context.Context, req any, handle grpc.UnaryHandler) (any, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return handle(ctx, req)
	}
	margin := min(max(time.Until(deadline)/10, leastMargin), mostMargin)
	ending, cancel := context.WithDeadline(ctx, deadline.Add(-margin))
	type answer struct {
		resp any
		err  error
	}
	handled := make(chan answer, 1)
	go func() {
		defer cancel()
		resp, err := handle(ending, req)
		handled <- answer{resp, err}
	}()
	late := time.NewTimer(time.Until(deadline) - margin/2)
	defer late.Stop()
	select {
	case a := <-handled:
		return a.resp, a.err
	case <-late.C:
		return nil, status.Error(codes.Unavailable, "TrueNAS is slow: it has not answered a change that it was sent, which is still waited for")
	}
}
