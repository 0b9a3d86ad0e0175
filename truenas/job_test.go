package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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
		t.Errorf("want success, and an error for the other, whose id now belongs to another job: %v; %v", a, b)
	}
	if got := nas.methods(); !slices.Equal(got, []string{"vm.stop", "vm.stop", jobEvents}) {
		t.Errorf("want one query for all: %v", got)
	}
}

func TestVanishedJob(t *testing.T) {
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
		t.Errorf("the job was aborted: %v", got)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if len(c.s.st.jobs.waiting) != 0 {
		t.Error("a waiter remains")
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
		{"another waiting job, reported by an event", true, "/mnt/tank/b.qcow2", ErrBusy},
		{"another waiting job, queried", false, "/mnt/tank/b.qcow2", ErrBusy},
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
				t.Errorf("the job was queried: %v", asked)
			}
		})
	}
}

// TestJobOnTheWire reads a job in the forms of events and of queries. What the data lacks keeps its value.
func TestJobOnTheWire(t *testing.T) {
	at := func(ms int64) *time.Time {
		moment := time.UnixMilli(ms).UTC()
		return &moment
	}
	job := Job{State: JobRunning, Progress: Progress{50, "half"}, Result: json.RawMessage(`1`), Error: "before", TimeStarted: at(1)}
	for _, tt := range []struct {
		name, data string
		want       func(*Job)
	}{
		{"nothing", `{}`, func(*Job) {}},
		{"nulls", `{"id":null,"state":null,"progress":null,"error":null,"result":null,"time_started":null,"arguments":null}`, func(j *Job) { j.Arguments = json.RawMessage(`null`) }},
		{"what identifies it", `{"id":7,"method":"vm.stop","arguments":[ 1, {"force": true} ]}`, func(j *Job) {
			j.ID, j.Method, j.Arguments = 7, "vm.stop", json.RawMessage(`[1,{"force":true}]`)
		}},
		{"progress without a description", `{"progress":{"percent":75.5}}`, func(j *Job) { j.Progress.Percent = 75.5 }},
		{"progress without a number", `{"progress":{"percent":null,"description":"more"}}`, func(j *Job) { j.Progress.Description = "more" }},
		{"a result", `{"state":"SUCCESS","result":{"a":1}}`, func(j *Job) { j.State, j.Result = JobSuccess, json.RawMessage(`{"a":1}`) }},
		{"a result of one character", `{"result":7}`, func(j *Job) { j.Result = json.RawMessage(`7`) }},
		{"times of the wire", `{"time_started":{"$date":1700000000123},"time_finished":{"$date":1700000001000}}`, func(j *Job) {
			j.TimeStarted, j.TimeFinished = at(1700000000123), at(1700000001000)
		}},
		{"times of the published models", `{"time_started":"2023-11-14T22:13:20Z"}`, func(j *Job) { j.TimeStarted = at(1700000000000) }},
		{"times of no known form", `{"time_started":"yesterday","time_finished":[1]}`, func(*Job) {}},
		{"a time without a value", `{"time_started":{"$date":null}}`, func(*Job) {}},
	} {
		got, want := job, job
		if err := json.Unmarshal([]byte(tt.data), &got); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.want(&want); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, want)
		}
	}
	if err := json.Unmarshal([]byte(`{"id":"seven"}`), new(Job)); err == nil {
		t.Error("an id that is a text was accepted")
	}
}

// TestJobErrors checks which error each end of a job is, with the errno and the fields that TrueNAS recorded.
func TestJobErrors(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       error
		text       string
	}{
		{"waiting", `{"state":"WAITING"}`, nil, ""},
		{"running", `{"state":"RUNNING","error":"not yet"}`, nil, ""},
		{"success", `{"state":"SUCCESS"}`, nil, ""},
		{"aborted", `{"state":"ABORTED","error":"by admin"}`, ErrAborted, "vm.stop: job 7: job was aborted: by admin"},
		{"failed with a number", `{"state":"FAILED","error":"no","exc_info":{"type":"CallError","errno":16}}`, ErrBusy, "vm.stop: job 7: busy: no"},
		{"failed with a text", `{"state":"FAILED","error":"[ENOENT] gone"}`, ErrNotFound, "vm.stop: job 7: not found: [ENOENT] gone"},
		{"failed with fields", `{"state":"FAILED","error":"no","exc_info":{"type":"ValidationErrors","extra":[["options.force","is wrong",22]]}}`, ErrInvalid, "vm.stop: job 7: invalid: options.force: is wrong"},
		{"failed with a missing record", `{"state":"FAILED","error":"no","exc_info":{"type":"MatchNotFound","errno":22}}`, ErrNotFound, "vm.stop: job 7: not found: no"},
		{"failed with a record of another type", `{"state":"FAILED","error":"no","exc_info":{"type":"Found"}}`, nil, "vm.stop: job 7: no"},
	} {
		job := Job{ID: 7, Method: "vm.stop"}
		if err := json.Unmarshal([]byte(tt.data), &job); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		err := job.Err()
		if tt.want != nil && !errors.Is(err, tt.want) || (err == nil) != (tt.text == "") || err != nil && err.Error() != tt.text {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.text)
		}
		if over := job.State == JobSuccess || tt.text != ""; job.Done() != over {
			t.Errorf("%s: done is %t", tt.name, job.Done())
		}
	}
}

// TestReconcileReportsItsFailure: after a lost link the log says when the jobs in progress cannot be queried, and only then.
func TestReconcileReportsItsFailure(t *testing.T) {
	for _, refused := range []bool{false, true} {
		nas := newFakeNAS(t)
		nas.script = func(p *peer, f frame) {
			switch {
			case f.Method == "vm.stop":
				p.answer(f, 10)
			case refused:
				p.answer(f, wireFailure{"code": -32001, "data": map[string]any{"error": 13, "reason": "[EACCES] Not authorized"}})
			default:
				p.answer(f, []any{jobFields(10, JobRunning, 50)})
			}
		}
		core, logs := observer.New(zap.WarnLevel)
		c := nas.client(func(cfg *Config) { cfg.Logger = zap.New(core) })
		done := make(chan error, 1)
		go func() { done <- c.VMs.Stop(within(t, 10*time.Second), 1, StopOptions{}, nil) }()
		nas.next()
		eventually(t, "the job is waited for", func() bool {
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			return len(c.s.st.jobs.waiting) == 1
		})
		warnings := func() int { return logs.FilterMessageSnippet("cannot query the jobs in progress").Len() }
		nas.nextPeer().cut()
		nas.next()
		if refused {
			eventually(t, "the failure is logged", func() bool { return warnings() == 1 })
		}
		nas.nextPeer().event(jobEvents, "changed", 10, jobFields(10, JobSuccess, 100))
		if err := <-done; err != nil {
			t.Errorf("refused %t: %v", refused, err)
		}
		if err := c.Close(); err != nil { // What there is to log has been logged then.
			t.Error(err)
		}
		if n := warnings(); (n == 1) != refused {
			t.Errorf("refused %t: %d warnings", refused, n)
		}
	}
}

// TestRunningJobs lists the unfinished jobs that this client started or waits for, in order, and no others.
func TestRunningJobs(t *testing.T) {
	s := &session{st: state{jobs: newJobTable()}}
	table := &s.st.jobs
	for id, state := range map[JobID]string{9: JobRunning, 3: JobWaiting, 4: JobSuccess, 5: JobRunning, 6: JobRunning} {
		table.learn(Job{ID: id, State: state})
	}
	for _, id := range []JobID{9, 3, 4, 8} { // Nothing has been heard of 8.
		table.claim(id)
	}
	w, _ := table.watch(6, "")
	var got []JobID
	for _, job := range s.runningJobs() {
		got = append(got, job.ID)
	}
	if want := []JobID{3, 6, 9}; !slices.Equal(got, want) {
		t.Errorf("running are %v, want %v", got, want)
	}
	table.unwatch(w)
	if running := s.runningJobs(); len(running) != 2 {
		t.Errorf("a job is reported that no caller waits for: %+v", running)
	}
}

// TestWatchJob checks when a waiter has to query its job, and that the query of all awaited jobs after a lost link leaves those out that
// are queried by themselves.
func TestWatchJob(t *testing.T) {
	table := newJobTable()
	table.learn(Job{ID: 2, Method: "vm.stop", State: JobRunning})
	table.claim(3)
	table.claim(4)
	table.learn(Job{ID: 4, Method: "vm.stop", State: JobSuccess})
	table.learn(Job{ID: 5, Method: "pool.scrub", State: JobRunning})
	table.entry(6)
	for _, tt := range []struct {
		name string
		id   JobID
		look bool
		woke bool
		lost bool
	}{
		{"nothing is known", 1, true, false, false},
		{"an event has reported it", 2, false, true, false},
		{"this client has started it", 3, false, false, false},
		{"it has ended", 4, false, true, false},
		{"its id is another job's", 5, false, true, true},
		{"no report could be read", 6, true, false, false},
	} {
		w, look := table.watch(tt.id, "vm.stop")
		if look != tt.look || w.asks != tt.look || len(w.wake) == 1 != tt.woke || w.lost != tt.lost {
			t.Errorf("%s: look %t, %+v", tt.name, look, w)
		}
	}
	if got := table.restart(); !slices.Equal(got, []JobID{2, 3, 4, 5}) {
		t.Errorf("queried after a lost link: %v", got)
	}
}

func TestRememberedJobsAreBounded(t *testing.T) {
	table := newJobTable()
	for i := range 3 * remembered {
		table.began([]byte(fmt.Sprint(i)))
	}
	if len(table.seen) != remembered || len(table.order) != remembered {
		t.Errorf("%d and %d remain", len(table.seen), len(table.order))
	}
}
