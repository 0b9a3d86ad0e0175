package server

import (
	"context"
	"time"
)

// What is kept back of a caller's time: a tenth, within bounds.
const (
	leastMargin = 10 * time.Millisecond
	mostMargin  = 2 * time.Second
)

// answerBy ends a handler's time a little before its caller's. When the NAS is slow, the caller
// hears what was waited for, instead of nothing; and nothing goes on for somebody who has left.
func answerBy(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	margin := min(max(time.Until(deadline)/10, leastMargin), mostMargin)
	return context.WithDeadline(ctx, deadline.Add(-margin))
}
