package background

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// run does one piece of work, which ends with a result. until is the earliest retry of a failure.
func run(works *Works[string], key string, result error, until time.Time) {
	<-works.Start(key, "about "+key, func(_ context.Context, w *Work[string]) error {
		w.Until = until
		return result
	}).Done
}

// TestSuccessesAndFailuresAge: a success counts for [SuccessAge] and a failure for [FailureAge], up to their last moment.
func TestSuccessesAndFailuresAge(t *testing.T) {
	failed := errors.New("failed")
	for name, tt := range map[string]struct {
		after  time.Duration
		done   bool
		failed bool
	}{
		"at once":                      {0, true, true},
		"the last moment of a success": {SuccessAge, true, true},
		"after it":                     {SuccessAge + 1, false, true},
		"the last moment of a failure": {FailureAge, false, true},
		"after that":                   {FailureAge + 1, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				works := New[string](t.Context(), func(error) bool { return true })
				run(works, "good", nil, time.Time{})
				run(works, "bad", failed, time.Time{})
				time.Sleep(tt.after) // The clock of the bubble.
				for range 2 {
					if got := works.JustDone("good"); got != tt.done {
						t.Errorf("just done: %t", got)
					}
				}
				if !tt.done && len(works.done) > 0 {
					t.Error("an old success takes memory")
				}
				for range 2 { // Peek keeps the failure.
					if running, err := works.Peek("bad"); running || (err != nil) != tt.failed {
						t.Errorf("peek: %t, %v", running, err)
					}
				}
				var seen []string
				works.Each(func(key, about string, at time.Time, err error) {
					seen = append(seen, fmt.Sprint(key, ", ", about, ", ", time.Since(at), ", ", err))
				})
				if want := fmt.Sprint("bad, about bad, ", tt.after, ", failed"); (len(seen) == 1 && seen[0] == want) != tt.failed || len(seen) > 1 {
					t.Errorf("each: %q, want %q", seen, want)
				}
				if running, err := works.State("bad"); running || (err != nil) != tt.failed {
					t.Errorf("state: %t, %v", running, err)
				}
				if running, err := works.State("bad"); running || err != nil {
					t.Errorf("the failure is reported twice: %t, %v", running, err)
				}
			})
		})
	}
}

// TestEarliestRetry: a failure with an earliest retry is reported until then.
func TestEarliestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		works := New[string](t.Context(), func(error) bool { return true })
		run(works, "bad", errors.New("failed"), time.Now().Add(time.Minute))
		for range 2 {
			if _, err := works.State("bad"); err == nil {
				t.Error("it can be retried at once")
			}
		}
		time.Sleep(time.Minute)
		if _, err := works.State("bad"); err != nil {
			t.Errorf("it cannot be retried: %v", err)
		}
	})
}

// TestWorkInProgress: a second start joins the first; failures that are not kept, and interruptions, are forgotten.
func TestWorkInProgress(t *testing.T) {
	process, end := context.WithCancel(t.Context())
	forgettable := errors.New("forgettable")
	works := New[string](process, func(error) bool { return false })
	release := make(chan error)
	start := func(key string) *Work[string] {
		return works.Start(key, "before", func(_ context.Context, w *Work[string]) error { w.Begin(); w.Begin(); return <-release })
	}
	w := start("a")
	<-w.Begun
	if start("a") != w {
		t.Error("the same work was started twice")
	}
	works.Note(w, func(about *string) { *about = "after" })
	if about, running := works.Get("a"); about != "after" || !running {
		t.Errorf("got %q, %t", about, running)
	}
	if about, running := works.Get("b"); about != "" || running {
		t.Errorf("unknown work: %q, %t", about, running)
	}
	for name, state := range map[string]func(string) (bool, error){"state": works.State, "peek": works.Peek} {
		if running, err := state("a"); !running || err != nil {
			t.Errorf("%s: %t, %v", name, running, err)
		}
	}
	var seen []string
	works.Each(func(key, about string, at time.Time, err error) {
		seen = append(seen, fmt.Sprint(key, " ", about, " ", at.Equal(w.Since), " ", err))
	})
	if want := []string{"a after true <nil>"}; !slices.Equal(seen, want) {
		t.Errorf("each: %q, want %q", seen, want)
	}
	release <- forgettable
	<-w.Done
	if running, err := works.State("a"); running || err != nil || !errors.Is(w.Err, forgettable) {
		t.Errorf("state: %t, %v; result %v", running, err, w.Err)
	}
	if works.Interrupted() {
		t.Error("the process has not ended")
	}
	end()
	if got := start("a"); got != nil || !works.Interrupted() {
		t.Errorf("work was started after the end of the process: %+v", got)
	}
	works.Wait()
}

// TestInterruptedWork: neither a failure nor a success after the end of the process counts.
func TestInterruptedWork(t *testing.T) {
	for _, result := range []error{nil, errors.New("interrupted")} {
		process, end := context.WithCancel(t.Context())
		works := New[string](process, func(error) bool { return true })
		w := works.Start("a", "", func(context.Context, *Work[string]) error { end(); return result })
		<-w.Done
		if running, err := works.Peek("a"); running || err != nil || works.JustDone("a") {
			t.Errorf("%v: got %t, %v, done %t", result, running, err, works.JustDone("a"))
		}
	}
}

// TestNewWorkForgetsTheLastResult, so that callers see the new one.
func TestNewWorkForgetsTheLastResult(t *testing.T) {
	works := New[string](t.Context(), func(error) bool { return true })
	run(works, "good", nil, time.Time{})
	run(works, "bad", errors.New("failed"), time.Time{})
	release := make(chan struct{})
	for _, key := range []string{"good", "bad"} {
		works.Start(key, "", func(context.Context, *Work[string]) error { <-release; return nil })
	}
	if works.JustDone("good") {
		t.Error("the success of before counts while new work is in progress")
	}
	works.Each(func(key, _ string, _ time.Time, err error) {
		if err != nil {
			t.Errorf("%s: the failure of before counts while new work is in progress", key)
		}
	})
	close(release)
	works.Wait()
}
