package truenas

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// slowly makes a client whose only slot is held by a call without a reply.
func slowly(t *testing.T, change func(*Config)) (*fakeNAS, *Client, func()) {
	t.Helper()
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) {
		cfg.InFlight = 1
		if change != nil {
			change(cfg)
		}
	})
	ctx := within(t, 20*time.Second)
	done := make(chan error, 1)
	go func() {
		_, err := c.VMs.Get(ctx, 1)
		done <- err
	}()
	held := nas.next()
	return nas, c, func() {
		t.Helper()
		held.peer.answer(held, map[string]any{"id": 1})
		if err := <-done; err != nil {
			t.Errorf("the call that held the slot: %v", err)
		}
	}
}

func TestCallWithoutFreeSlot(t *testing.T) {
	nas, c, answer := slowly(t, func(cfg *Config) { cfg.TurnWait = 20 * time.Millisecond })
	err := c.VMs.Start(within(t, 10*time.Second), 2, false)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), "TrueNAS is slow: no free slot within 20ms; 1 calls wait for a slot, 1 for a reply") {
		t.Errorf("got %v", err)
	}
	answer()
	if got := nas.methods(); len(got) != 1 {
		t.Errorf("sent: %v", got)
	}
}

// The error of a caller that gives up does not blame the NAS.
func TestCallerGivesUp(t *testing.T) {
	_, c, answer := slowly(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.VMs.Get(ctx, 2); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "slow") {
		t.Errorf("got %v", err)
	}
	answer()
}

func TestCallerDeadline(t *testing.T) {
	_, c, answer := slowly(t, func(cfg *Config) { cfg.Linger = 50 * time.Millisecond })
	err := c.VMs.Start(within(t, 20*time.Millisecond), 2, false)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "TrueNAS is slow: no free slot within") {
		t.Errorf("in the queue: %v", err)
	}
	answer()
	err = c.VMs.Start(within(t, 50*time.Millisecond), 3, false)
	if !errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), "TrueNAS is slow: no reply within") {
		t.Errorf("on the wire: %v", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	nas, c, answer := slowly(t, nil)
	c.s.queued = 3
	ctx := within(t, 20*time.Second)
	done := make(chan error)
	for i := range 3 {
		go func() {
			_, err := c.VMs.Get(ctx, int64(10+i))
			done <- err
		}()
	}
	eventually(t, "three calls wait", func() bool { _, queued := c.waiting(); return queued == 3 })
	err := c.VMs.PowerOff(ctx, 2)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "3 calls wait for a slot") {
		t.Errorf("the fourth: %v", err)
	}
	answer()
	for range 3 {
		f := nas.next()
		f.peer.answer(f, map[string]any{"id": 1})
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Errorf("the waiting call: %v", err)
		}
	}
}

// TestLostRepliesAreWrittenOff checks that a call whose reply never comes holds its slot for a limited time.
func TestLostRepliesAreWrittenOff(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) { cfg.InFlight = 2 })
	c.s.absent = 10 * time.Millisecond
	ctx := within(t, 20*time.Second)
	short, cancel := context.WithCancel(ctx)
	lost := make(chan error)
	go func() {
		_, err := c.VMs.Get(short, 1)
		lost <- err
	}()
	nas.next()
	cancel()
	<-lost
	eventually(t, "its answer is written off", func() bool {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		return c.s.st.free(1, c.s.absent)
	})
	done := make(chan error)
	for i := range 2 {
		go func() {
			_, err := c.VMs.Get(ctx, int64(10+i))
			done <- err
		}()
	}
	both := []frame{nas.next(), nas.next()} // Both slots are free for them.
	for _, f := range both {
		f.peer.answer(f, map[string]any{"id": 1})
	}
	for range both {
		if err := <-done; err != nil {
			t.Error(fmt.Errorf("a call beside the lost one: %w", err))
		}
	}
}
