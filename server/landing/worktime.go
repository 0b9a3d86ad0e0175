package landing

import (
	"context"
	"sync"
	"time"
)

// workTime cancels a context when work has taken too long; the cause is then [context.DeadlineExceeded]. It does not count the time
// in which the work waits for other work of this process.
type workTime struct {
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	timer *time.Timer
	left  time.Duration
	since time.Time // when the counting began; zero: the counting is stopped
}

func newWorkTime(ctx context.Context, limit time.Duration) (context.Context, *workTime) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := &workTime{cancel: cancel, left: limit}
	t.count(true)
	return ctx, t
}

// count starts or stops the counting. Calls that do not change the state have no effect.
func (t *workTime) count(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch counting := !t.since.IsZero(); {
	case on && !counting:
		t.since = time.Now()
		t.timer = time.AfterFunc(t.left, func() { t.cancel(context.DeadlineExceeded) })
	case !on && counting:
		t.timer.Stop()
		t.left -= time.Since(t.since)
		t.since = time.Time{}
	}
}

// end stops the counting and releases the context.
func (t *workTime) end() {
	t.count(false)
	t.cancel(context.Canceled)
}
