package sim

import (
	"context"
	"errors"
	"sort"
	"sync"
	"time"
)

// Clock is the time of the simulator's jobs, guests and deadlines. Latency and
// delays of the transport always use wall time.
type Clock interface {
	Now() time.Time
	// AfterFunc runs fn once, in its own goroutine, when d has passed. stop cancels it, and reports whether fn had not started
	// yet.
	AfterFunc(d time.Duration, fn func()) (stop func() bool)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) AfterFunc(d time.Duration, fn func()) func() bool {
	return time.AfterFunc(d, fn).Stop
}

// StepClock advances only by Step.
type StepClock struct {
	mu    sync.Mutex
	now   time.Time
	alarm []*alarm
}

type alarm struct {
	at time.Time
	fn func()
}

// NewStepClock makes a clock that shows start.
func NewStepClock(start time.Time) *StepClock { return &StepClock{now: start} }

// Now returns the time of the clock.
func (c *StepClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Step advances the clock and starts the functions that are due, in order of their times. It does not wait for them.
func (c *StepClock) Step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	due := sort.Search(len(c.alarm), func(i int) bool { return c.alarm[i].at.After(c.now) })
	for _, a := range c.alarm[:due] {
		go a.fn()
	}
	c.alarm = append([]*alarm(nil), c.alarm[due:]...)
}

// Waiting returns the number of functions that wait for the clock. A test steps the clock when the expected number waits.
func (c *StepClock) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.alarm)
}

// AfterFunc runs fn when the clock has advanced by d, or at once if d is not positive.
func (c *StepClock) AfterFunc(d time.Duration, fn func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d <= 0 {
		go fn()
		return func() bool { return false }
	}
	a := &alarm{c.now.Add(d), fn}
	i := sort.Search(len(c.alarm), func(i int) bool { return c.alarm[i].at.After(a.at) })
	c.alarm = append(c.alarm, nil)
	copy(c.alarm[i+1:], c.alarm[i:])
	c.alarm[i] = a
	return func() bool { return c.cancel(a) }
}

func (c *StepClock) cancel(a *alarm) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.alarm {
		if c.alarm[i] == a {
			c.alarm = append(c.alarm[:i], c.alarm[i+1:]...)
			return true
		}
	}
	return false
}

// errClosed ends all waits when the simulator is closed.
var errClosed = errors.New("the simulator was closed")

// sleep waits for d on the simulator's clock, or until ctx is done.
func (s *Sim) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	done := make(chan struct{})
	stop := s.clock.AfterFunc(d, func() { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		stop()
		return context.Cause(ctx)
	}
}

// after runs fn with the lock held when d has passed on the simulator's clock. It does not run fn if stop is called with the lock
// held, or the simulator is closed, before fn starts.
func (s *Sim) after(d time.Duration, fn func()) (stop func()) {
	stopped := false // guarded by s.mu
	cancel := s.clock.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !stopped && !s.closed {
			stopped = true
			fn()
		}
	})
	return func() {
		stopped = true
		cancel()
	}
}
