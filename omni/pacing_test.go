package omni

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"virtrigaud-provider-truenas/truenas/sim"
)

// waited simulates a request that waits for a task, with other progress at each poll. It counts the polls and the changes of the
// progress in Omni. late is the time between the end of the task and the poll that notices it.
func waited(task time.Duration, pace Pace) (looks, writes int, late time.Duration) {
	var p pacing
	begin, shown := time.Now(), ""
	for time.Since(begin) < task {
		looks++
		after, progress := p.next("one", "prepare the Talos image", waiting{progress: fmt.Sprintf("look %d", looks)}, pace)
		if progress != shown {
			writes, shown = writes+1, progress
		}
		time.Sleep(after)
	}
	return looks, writes, time.Since(begin) - task
}

func TestPauseGrowsWithTheTimeWaited(t *testing.T) {
	pace := Pace{Poll: time.Second}
	for _, tt := range []struct {
		task, late    time.Duration
		looks, writes int
	}{
		{100 * time.Millisecond, 20 * time.Millisecond, 5, 1},
		{time.Second, 20 * time.Millisecond, 50, 1},
		{10 * time.Second, 200 * time.Millisecond, 170, 11},
		{10 * time.Minute, time.Second, 800, 601},
	} {
		t.Run(tt.task.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looks, writes, late := waited(tt.task, pace)
				if looks > tt.looks || writes > tt.writes || late > tt.late {
					t.Errorf("%d looks, %d writes, noticed %v late; want at most %d, %d and %v", looks, writes, late, tt.looks, tt.writes, tt.late)
				}
			})
		})
	}
}

func TestPauseIsNeverLongerThanPoll(t *testing.T) {
	pace := Pace{Poll: 20 * time.Millisecond}
	for _, waited := range []time.Duration{0, time.Second, time.Hour} {
		if got := pace.pause(waited); got != pace.Poll {
			t.Errorf("the pause after %v is %v, want %v", waited, got, pace.Poll)
		}
	}
}

func TestEachStepWaitsFromItsOwnBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacing
		pace := Pace{Poll: time.Second}
		p.next("one", "image", waiting{}, pace)
		time.Sleep(time.Hour)
		if after, _ := p.next("one", "image", waiting{}, pace); after != time.Second {
			t.Errorf("after an hour the pause is %v", after)
		}
		if after, _ := p.next("one", "create", waiting{}, pace); after != leastPause {
			t.Errorf("the first pause of the next step is %v", after)
		}
		if after, _ := p.next("one", "create", waiting{after: immediately}, pace); after != immediately {
			t.Errorf("a requested pause of %v is %v", immediately, after)
		}
		time.Sleep(time.Hour)
		p.end("one")
		if after, _ := p.next("one", "create", waiting{}, pace); after != leastPause {
			t.Errorf("the first pause after a failure is %v", after)
		}
	})
}

// A machine whose image is soon ready does not wait for the longest pause.
func TestQuickImageIsNoticedQuickly(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, _ *sim.Sim) {
		w.cfg.Pace = Pace{Poll: time.Hour}
		_, stop := w.start()
		w.request("one", class)
		w.provisioned("one")
		stop()
	})
}
