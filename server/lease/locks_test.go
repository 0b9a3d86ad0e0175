package lease

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLocks: callers take turns on a key, other keys are free, and the last one leaves nothing behind.
func TestLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks Locks
		unlock, err := locks.Lock(t.Context(), "a")
		if err != nil || !locks.Taken("a") || locks.Taken("b") {
			t.Fatalf("got %v; taken: %t, %t", err, locks.Taken("a"), locks.Taken("b"))
		}
		if other, err := locks.Lock(t.Context(), "b"); err != nil {
			t.Error(err)
		} else {
			other()
		}
		inside := 0
		for range 3 {
			go func() {
				unlock, err := locks.Lock(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				if inside++; inside > 1 {
					t.Error("two callers hold a lock")
				}
				time.Sleep(time.Second)
				inside--
				unlock()
			}()
		}
		synctest.Wait()
		late, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := locks.Lock(late, "a"); err == nil || err.Error() != "a is busy: another call is in progress" {
			t.Errorf("after its time limit: %v", err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := locks.Lock(gone, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that gave up: %v", err)
		}
		unlock()
		time.Sleep(time.Minute) // The clock of the bubble.
		if locks.Taken("a") || len(locks.held) > 0 {
			t.Error("the lock is taken although all callers have left")
		}
	})
}

// TestLongLocks: who comes while a long operation holds a lock gets the reason at once; who waited before does not.
func TestLongLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks Locks
		why := errors.New("a copy is in progress")
		unlock, err := locks.LockLong(t.Context(), "a", why)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := locks.Lock(t.Context(), "a"); !errors.Is(err, why) {
				t.Errorf("got %v", err)
			}
			if _, err := locks.LockLong(t.Context(), "a", errors.New("another")); !errors.Is(err, why) {
				t.Errorf("got %v", err)
			}
		}
		if w := locks.held["a"]; w == nil || w.count != 1 {
			t.Errorf("refused callers still count: %+v", w)
		}
		unlock()
		if locks.Taken("a") {
			t.Error("the lock is taken")
		}
		first, err := locks.Lock(t.Context(), "a")
		if err != nil {
			t.Fatalf("after a long operation: %v", err)
		}
		waited := make(chan error)
		go func() {
			unlock, err := locks.LockLong(t.Context(), "a", why)
			if err == nil {
				defer unlock()
			}
			waited <- err
		}()
		synctest.Wait()
		first()
		if err := <-waited; err != nil {
			t.Errorf("a caller that waited: %v", err)
		}
	})
}

// TestSleep ends early with its context.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := Sleep(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Sleep(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute+time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}

// TestCleared repeats a removal a few times.
func TestCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		for failures, want := range map[int]bool{0: true, clearTries - 1: true, clearTries: false} {
			calls := 0
			err := cleared(t.Context(), func() error {
				if calls++; calls <= failures {
					return failed
				}
				return nil
			})
			if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "failed") || calls != min(failures+1, clearTries) {
				t.Errorf("%d failures: got %v after %d calls", failures, err, calls)
			}
		}
	})
}
