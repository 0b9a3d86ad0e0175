package truenas

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// slowLogin makes a NAS that delays its replies to logins until answer is called.
func slowLogin(t *testing.T, change func(*Config)) (c *Client, answer func()) {
	t.Helper()
	nas := newFakeNAS(t)
	gate := make(chan struct{})
	nas.login = func() any {
		<-gate
		return map[string]any{"response_type": "SUCCESS"}
	}
	nas.script = func(p *peer, f frame) { p.answer(f, map[string]any{"id": 1}) }
	var opened bool
	answer = func() {
		if !opened {
			opened = true
			close(gate)
		}
	}
	t.Cleanup(answer)
	return nas.client(func(cfg *Config) {
		cfg.ConnectWait = 20 * time.Millisecond
		if change != nil {
			change(cfg)
		}
	}), answer
}

// TestSlowLoginIsWaitedFor checks that calls wait much longer than ConnectWait for a login in progress.
func TestSlowLoginIsWaitedFor(t *testing.T) {
	for _, tt := range []struct {
		name string
		call func(context.Context, *Client) error
	}{
		{"a read", func(ctx context.Context, c *Client) error { _, err := c.VMs.Get(ctx, 1); return err }},
		{"a change", func(ctx context.Context, c *Client) error { return c.VMs.PowerOff(ctx, 1) }},
		{"a call that depends on the release", func(ctx context.Context, c *Client) error {
			return c.Snapshots.Delete(ctx, "tank/a@b", SnapshotDelete{})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, answer := slowLogin(t, nil)
			done := make(chan error, 1)
			go func() { done <- tt.call(within(t, 20*time.Second), c) }()
			select {
			case err := <-done:
				t.Fatalf("the call ended before the login: %v", err)
			case <-time.After(300 * time.Millisecond):
			}
			answer()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSlowLoginEndsWithTheCaller checks that the caller's deadline ends the wait, and that the error states the reason.
func TestSlowLoginEndsWithTheCaller(t *testing.T) {
	c, _ := slowLogin(t, nil)
	for name, call := range map[string]func(context.Context) error{
		"a read": func(ctx context.Context) error { _, err := c.VMs.Get(ctx, 1); return err },
		"an upload": func(ctx context.Context) error {
			return c.Files.Put(ctx, "/mnt/tank/a", 0o600, io.LimitReader(nil, 0), 0, nil)
		},
	} {
		err := call(within(t, 200*time.Millisecond))
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUncertain) || !strings.Contains(err.Error(), "not connected yet") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFailedAttemptEndsTheWaiting checks that a call that waited for a failed login does not wait for a second one.
func TestFailedAttemptEndsTheWaiting(t *testing.T) {
	nas := newFakeNAS(t)
	gate := make(chan struct{})
	nas.login = func() any {
		<-gate
		return wireFailure{"code": -32001, "data": map[string]any{"error": 16, "errname": "EBUSY", "reason": "[EBUSY] Rate Limit Exceeded"}}
	}
	c := nas.client(func(cfg *Config) { cfg.ConnectWait = 20 * time.Millisecond })
	done := make(chan error, 2)
	ctx := within(t, 20*time.Second)
	go func() { done <- c.VMs.PowerOff(ctx, 1) }()
	go func() { done <- c.Snapshots.Delete(ctx, "tank/a@b", SnapshotDelete{}) }()
	select {
	case err := <-done:
		t.Fatalf("a call ended before the login: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	close(gate)
	for range 2 {
		if err := <-done; !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "Rate Limit") || ctx.Err() != nil {
			t.Errorf("got %v", err)
		}
	}
}

func TestShouldWait(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name    string
		attempt attempt
		want    bool
	}{
		{"no attempt is under way", attempt{}, false},
		{"the first attempt", attempt{open: true}, true},
		{"another attempt without a response", attempt{open: true, repeated: true, failed: now.Add(-time.Second)}, false},
		{"another attempt with a response", attempt{open: true, repeated: true, answered: true, failed: now.Add(-time.Second)}, true},
		{"an attempt after the failed one", attempt{open: true, repeated: true, answered: true, failed: now.Add(time.Second)}, false},
	} {
		if got := tt.attempt.shouldWait(now); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

// TestRepeatedAttemptIsNotWaitedFor checks that an attempt does not inherit the response that an earlier attempt got: while the
// NAS is silent, calls end after ConnectWait.
func TestRepeatedAttemptIsNotWaitedFor(t *testing.T) {
	a := attempt{open: true, answered: true}
	a.fail()
	if a.shouldWait(time.Now()) {
		t.Error("a failed attempt is waited for")
	}
	a.begin()
	if a.shouldWait(time.Now()) {
		t.Error("a second attempt is waited for before the NAS has responded to it")
	}
	a.answered = true
	if !a.shouldWait(time.Now()) {
		t.Error("a second attempt is not waited for although the NAS has responded to it")
	}
	if a.begin(); a.shouldWait(time.Now()) {
		t.Error("a new attempt counts as answered because the one before it was")
	}
}
