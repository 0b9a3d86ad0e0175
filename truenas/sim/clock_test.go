package sim

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestStepClock(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := NewStepClock(start)
	rang := make(chan string, 3)
	c.AfterFunc(2*time.Second, func() { rang <- "second" })
	c.AfterFunc(time.Second, func() { rang <- "first" })
	stop := c.AfterFunc(time.Second, func() { rang <- "never" })
	if !stop() || stop() || c.Waiting() != 2 {
		t.Errorf("after one was stopped %d wait, want 2", c.Waiting())
	}
	c.Step(time.Second)
	if got := <-rang; got != "first" || c.Waiting() != 1 {
		t.Errorf("after a second: %s, %d wait", got, c.Waiting())
	}
	c.Step(time.Hour)
	if got := <-rang; got != "second" || !c.Now().Equal(start.Add(time.Hour+time.Second)) {
		t.Errorf("after an hour: %s at %v", got, c.Now())
	}
}

func TestStoppedFunctionDoesNotRun(t *testing.T) {
	clock := NewStepClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	n := newWire(t, Config{Clock: clock})
	ran := make(chan struct{})
	n.mu.Lock()
	stop := n.after(time.Second, func() { t.Error("it ran") })
	n.after(2*time.Second, func() { close(ran) })
	clock.Step(time.Second) // The function is due, and waits for the lock.
	stop()
	n.mu.Unlock()
	clock.Step(time.Second)
	<-ran
}

func TestSleepEndsWithItsContext(t *testing.T) {
	clock := NewStepClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	n := newWire(t, Config{Clock: clock})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errAborted)
	if err := n.sleep(ctx, time.Second); !errors.Is(err, errAborted) || clock.Waiting() != 0 {
		t.Errorf("got %v, %d still wait", err, clock.Waiting())
	}
}
