package truenas

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func jobFields(id int, state string, percent float64) map[string]any {
	return map[string]any{
		"id": id, "method": "vm.stop", "arguments": []any{1}, "state": state,
		"progress": map[string]any{"percent": percent, "description": state}, "error": nil, "exc_info": nil, "result": nil,
		"time_started": map[string]any{"$date": 1700000000000 + id}, "time_finished": nil,
	}
}

func TestJobByEventsAlone(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) {
		p.answer(f, 12)
		p.event(jobEvents, "added", 12, jobFields(12, JobWaiting, 0))
		p.event(jobEvents, "changed", 12, jobFields(12, JobRunning, 40))
	}
	c := nas.client()
	var seen []Progress
	err := c.VMs.Stop(within(t, 10*time.Second), 1, StopOptions{}, func(pr Progress) {
		if seen = append(seen, pr); pr.Percent == 40 {
			nas.nextPeer().event(jobEvents, "changed", 12, jobFields(12, JobSuccess, 100))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(seen, Progress{40, JobRunning}) {
		t.Errorf("progress %v", seen)
	}
	if got := nas.methods(); !slices.Equal(got, []string{"vm.stop"}) {
		t.Errorf("sent: %v", got)
	}
}

func TestJobEndsBeforeItsCallIsAnswered(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) {
		failed := jobFields(12, JobFailed, 0)
		failed["error"] = "[EBUSY] the guest is busy"
		p.event(jobEvents, "changed", 12, failed)
		p.answer(f, 12)
	}
	err := nas.client().VMs.Stop(within(t, 10*time.Second), 1, StopOptions{}, nil)
	var e *Error
	if !errors.Is(err, ErrBusy) || !errors.As(err, &e) || e.Job != 12 || e.Method != "vm.stop" {
		t.Errorf("got %v", err)
	}
	if got := nas.methods(); !slices.Equal(got, []string{"vm.stop"}) {
		t.Errorf("sent: %v", got)
	}
}

func TestJobsAcrossALostLink(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) {
		switch f.Method {
		case "vm.stop":
			p.answer(f, 10+f.ID%2) // two calls, two jobs
		case jobEvents:
			restarted := jobFields(11, JobRunning, 0)
			restarted["method"] = "pool.scrub"
			p.answer(f, []any{jobFields(10, JobSuccess, 100), restarted})
		}
	}
	c := nas.client()
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- c.VMs.Stop(within(t, 10*time.Second), 1, StopOptions{}, nil) }()
		nas.next()
	}
	eventually(t, "both are waited for", func() bool {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		return len(c.s.st.jobs.waiting) == 2
	})
	nas.nextPeer().cut()
	a, b := <-done, <-done
	if a != nil {
		a, b = b, a
	}
	if a != nil || !errors.Is(b, ErrJobLost) {
		t.Errorf("one ended well, the other's id is another job's: %v; %v", a, b)
	}
	if got := nas.methods(); !slices.Equal(got, []string{"vm.stop", "vm.stop", jobEvents}) {
		t.Errorf("asked once for all: %v", got)
	}
}

func TestJobThatVanished(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) { p.answer(f, []any{}) }
	c := nas.client()
	if _, err := c.Jobs.Wait(within(t, 10*time.Second), 99, nil); !errors.Is(err, ErrJobLost) {
		t.Errorf("waiting: %v", err)
	}
	if _, err := c.Jobs.Get(within(t, 10*time.Second), 99); !errors.Is(err, ErrNotFound) {
		t.Errorf("asking: %v", err)
	}
	if got := nas.methods(); len(got) != 2 {
		t.Errorf("sent: %v", got)
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) { p.answer(f, 12) }
	c := nas.client()
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() { failed <- c.VMs.Stop(ctx, 1, StopOptions{}, nil) }()
	nas.next()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := nas.methods(); !slices.Equal(got, []string{"vm.stop"}) {
		t.Errorf("the job continues, nothing aborts it: %v", got)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if len(c.s.st.jobs.waiting) != 0 {
		t.Error("it is still waited for")
	}
}

func TestConversionOfAnotherClient(t *testing.T) {
	for _, tt := range []struct {
		name  string
		event bool
		args  string
		want  error
	}{
		{"ours, reported by an event", true, "/mnt/tank/a.qcow2", nil},
		{"ours, queried", false, "/mnt/tank/a.qcow2", nil},
		{"another that waits, reported by an event", true, "/mnt/tank/b.qcow2", ErrBusy},
		{"another that waits, queried", false, "/mnt/tank/b.qcow2", ErrBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nas := newFakeNAS(t)
			row := jobFields(5, JobWaiting, 0)
			row["method"] = "vm.device.convert"
			row["arguments"] = []any{map[string]any{"source": tt.args, "destination": "/dev/zvol/tank/v"}}
			nas.script = func(p *peer, f frame) {
				if f.Method == jobEvents {
					p.answer(f, []any{row})
					return
				}
				if tt.event {
					p.event(jobEvents, "added", 5, row)
				}
				p.answer(f, 5)
			}
			_, err := nas.client().Devices.Convert(within(t, 10*time.Second), "/mnt/tank/a.qcow2", "/dev/zvol/tank/v")
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v", err)
			}
			if asked := slices.Contains(nas.methods(), jobEvents); asked == tt.event {
				t.Errorf("requested the job: %v", asked)
			}
		})
	}
}

func TestRememberedJobsAreBounded(t *testing.T) {
	table := newJobTable()
	for i := range 3 * remembered {
		table.began([]byte(fmt.Sprint(i)))
	}
	if len(table.seen) != remembered || len(table.order) != remembered {
		t.Errorf("%d and %d are kept", len(table.seen), len(table.order))
	}
}
