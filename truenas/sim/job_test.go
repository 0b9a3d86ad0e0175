package sim

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// sleeper is a job of 10 s on the simulator's clock.
func sleeper(lock string, queue int) method {
	return method{job: true, queue: queue, lock: func(*call) string { return lock }, run: func(c *call) (any, error) {
		c.progress(50, "half way")
		if err := c.sleep(10 * time.Second); err != nil {
			return nil, err
		}
		return c.params, nil
	}}
}

func steppedNAS(t *testing.T, keys ...Key) (*wire, *StepClock) {
	t.Helper()
	clock := NewStepClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	n := newWire(t, Config{Clock: clock, Keys: keys})
	testMethods(t, n.Sim, map[string]method{
		"test.sleep": sleeper("", 0),
		"test.lock":  sleeper("test", 1),
		"test.fail":  {job: true, run: func(*call) (any, error) { return nil, fail(eBUSY, "it is busy") }},
		"test.bad":   {job: true, run: func(c *call) (any, error) { return nil, c.args([]string{"a"}, new(int)) }},
	})
	return n, clock
}

// asleep waits until the given number of jobs waits for the clock.
func asleep(clock *StepClock, jobs int) {
	for clock.Waiting() < jobs {
		time.Sleep(time.Millisecond)
	}
}

func TestJobRunsToItsEnd(t *testing.T) {
	n, clock := steppedNAS(t)
	p := n.login()
	p.must("core.subscribe", "core.get_jobs")
	id := p.must("test.sleep", "x")
	if id != "1" {
		t.Fatalf("the first job has the id %s", id)
	}
	asleep(clock, 1)
	clock.Step(10 * time.Second)
	row := p.job(id)
	if row["state"] != "SUCCESS" || jsonOf(t, row["result"]) != `["x"]` || jsonOf(t, row["arguments"]) != `["x"]` || row["error"] != nil {
		t.Errorf("the job: %v", row)
	}
	var states []string
	for range 4 {
		m := p.event("core.get_jobs")
		var fields struct {
			State    string
			Progress struct{ Percent *int }
		}
		if err := json.Unmarshal(m.Params.Fields, &fields); err != nil {
			t.Fatal(err)
		}
		states = append(states, m.Params.Msg+" "+fields.State)
	}
	if got, want := strings.Join(states, ", "), "added WAITING, changed RUNNING, changed RUNNING, changed SUCCESS"; got != want {
		t.Errorf("events: %s, want %s", got, want)
	}
}

func TestJobsThatFail(t *testing.T) {
	n, _ := steppedNAS(t)
	p := n.login()
	for _, tt := range []struct{ name, method, text, kind string }{
		{"a failed call", "test.fail", "[EBUSY] it is busy", `"type":"CallError"`},
		{"invalid arguments", "test.bad", "[EINVAL] a: Field required\n", `"type":"VALIDATION"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			row := p.job(p.must(tt.method))
			if row["state"] != "FAILED" || row["error"] != tt.text || !strings.Contains(jsonOf(t, row["exc_info"]), tt.kind) {
				t.Errorf("the job: %v", row)
			}
		})
	}
}

func TestAbortedJobs(t *testing.T) {
	n, clock := steppedNAS(t)
	p := n.login()
	running, waiting := p.must("test.lock", 1), p.must("test.lock", 2)
	asleep(clock, 1)
	p.must("core.job_abort", json.Number(waiting))
	if third := p.must("test.lock", 3); third != waiting || !strings.Contains(p.must("core.get_jobs", []any{[]any{"id", "=", json.Number(waiting)}}), `"WAITING"`) {
		t.Errorf("the aborted job %s left the queue before its turn, and job %s took its place", waiting, third)
	}
	p.must("core.job_abort", json.Number(running))
	for _, id := range []string{waiting, running} {
		if row := p.job(id); row["state"] != "ABORTED" {
			t.Errorf("job %s: %v", id, row)
		}
	}
	p.must("core.job_abort", json.Number(running)) // It may be repeated.
	if got := p.fails("core.job_abort", 99); len(got.Data.Extra) != 1 {
		t.Errorf("a missing job: %+v", got)
	}
}

func TestTheThirdJobOfALockIsSwallowed(t *testing.T) {
	n, clock := steppedNAS(t)
	p := n.login()
	first, second, third := p.must("test.lock", "a"), p.must("test.lock", "b"), p.must("test.lock", "c")
	if first == second || second != third {
		t.Fatalf("ids %s, %s, %s: want the third to be the second", first, second, third)
	}
	for range 2 {
		asleep(clock, 1)
		clock.Step(10 * time.Second)
	}
	if row := p.job(second); jsonOf(t, row["arguments"]) != `["b"]` || row["state"] != "SUCCESS" {
		t.Errorf("the queued job: %v", row)
	}
}

func TestJobsOfOthers(t *testing.T) {
	n, clock := steppedNAS(t,
		Key{Username: "root", APIKey: DefaultAPIKey, Roles: []string{fullAdmin}},
		Key{Username: "a", APIKey: "2-a", Roles: []string{"VM_WRITE"}},
		Key{Username: "b", APIKey: "3-b", Roles: []string{"VM_WRITE"}},
	)
	as := func(user, key string) *peerConn {
		p := n.dial("/api/current")
		p.must("auth.login_ex", plainLogin(user, key))
		p.must("core.subscribe", "core.get_jobs")
		return p
	}
	root, a, b := as("root", DefaultAPIKey), as("a", "2-a"), as("b", "3-b")
	a.must("test.lock")
	id := a.must("test.lock")
	root.event("core.get_jobs")
	a.event("core.get_jobs")
	if got := b.must("core.get_jobs"); got != "[]" {
		t.Errorf("b sees %s", got)
	}
	if got := b.fails("core.job_abort", json.Number(id)); len(got.Data.Extra) != 1 {
		t.Errorf("b aborts a's job: %+v", got)
	}
	if got := b.fails("test.lock"); got.Data.Error != 16 {
		t.Errorf("b behind a's jobs: %+v, want EBUSY", got)
	}
	if len(b.kept) > 0 {
		t.Errorf("b hears of %+v", b.kept)
	}
	asleep(clock, 1)
}

func TestWaitingForAJob(t *testing.T) {
	n, clock := steppedNAS(t)
	p := n.login()
	id := p.must("test.sleep", 7)
	waits := p.must("core.job_wait", json.Number(id))
	asleep(clock, 1)
	clock.Step(10 * time.Second)
	if row := p.job(waits); jsonOf(t, row["result"]) != "[7]" {
		t.Errorf("the waiting job: %v", row)
	}
	waits = p.must("core.job_wait", json.Number(p.must("test.fail")))
	if row := p.job(waits); row["error"] != "[EBUSY] it is busy" {
		t.Errorf("the job that waited for a failing one: %v", row)
	}
}

func TestARestartForgetsJobs(t *testing.T) {
	n, clock := steppedNAS(t)
	p := n.login()
	p.must("test.sleep")
	asleep(clock, 1)
	n.RestartMiddleware()
	if code := p.closed(); code != -1 {
		t.Errorf("the connection was closed with %d, want it cut", code)
	}
	p = n.login()
	if got := p.must("core.get_jobs"); got != "[]" {
		t.Errorf("jobs after the restart: %s", got)
	}
	if id := p.must("test.sleep"); id != "1" {
		t.Errorf("the first job after the restart has the id %s", id)
	}
}

func TestSubscriptions(t *testing.T) {
	n, _ := steppedNAS(t, Key{Username: "svc", APIKey: "2-a", Roles: []string{"DATASET_READ"}})
	p := n.dial("/api/current")
	p.must("auth.login_ex", plainLogin("svc", "2-a"))
	if got := p.fails("core.subscribe", "vm.query"); got.Data.Error != 13 {
		t.Errorf("without the role: %+v, want EACCES", got)
	}
	p.must("core.subscribe", "weather") // It never has events.
	n.SetRoles("svc", "VM_READ")
	id := p.must("core.subscribe", "vm.query")
	emit := func(msg string, fields any) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.emit("vm.query", msg, 3, fields)
	}
	emit("changed", map[string]any{"name": "x"})
	if m := p.event("vm.query"); m.Params.Msg != "changed" || m.Params.ID != 3.0 || string(m.Params.Fields) != `{"name":"x"}` {
		t.Errorf("the event: %+v", m.Params)
	}
	emit("removed", nil)
	if m := p.event("vm.query"); m.Params.Msg != "removed" || m.Params.Fields != nil {
		t.Errorf("the event: %+v", m.Params)
	}
	p.must("core.unsubscribe", json.RawMessage(id))
	emit("changed", nil)
	p.must("core.ping")
	if len(p.kept) > 0 {
		t.Errorf("after unsubscribing: %+v", p.kept)
	}
}

// Rule 16: an abort does not stop a conversion. Up to 25.10 the job is aborted and releases its lock, and the work continues to
// its end. From 26 on the abort has no effect.
func TestAbortDoesNotStopAConversion(t *testing.T) {
	for _, release := range []string{"25.10", "26", "27"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			disk := picture()
			if err := n.WriteFile("/mnt/tank/disk.raw", disk); err != nil {
				t.Fatal(err)
			}
			n.volume("tank/v", 16<<20, nil)
			m := Fault{Then: LongJob, Delay: time.Minute}.on(n.methods["vm.device.convert"])
			c := &call{sim: n.Sim, session: &session{sim: n.Sim, user: n.accounts[0]}, method: "vm.device.convert"}
			c.params = []json.RawMessage{mustJSON(t, object{"source": "/mnt/tank/disk.raw", "destination": "tank/v"})}
			n.mu.Lock()
			j, err := n.startJob(c, m)
			n.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			asleep(n.clock, 1)
			n.must(nil, "core.job_abort", j.id)
			n.mu.Lock()
			state := j.state
			n.mu.Unlock()
			if want := map[bool]string{true: jobRunning, false: jobAborted}[n.release >= v26]; state != want {
				t.Errorf("after the abort the job is %s, want %s", state, want)
			}
			n.clock.Step(time.Minute)
			for range 1000 {
				if p := make([]byte, len(disk)); !readWhole(n, "tank/v", p) || !bytes.Equal(p, disk) {
					time.Sleep(time.Millisecond)
					continue
				}
				return
			}
			t.Error("the conversion did not continue to its end")
		})
	}
}

// The method of vm.stop is not a coroutine, so an abort does not stop it either: the VM still goes off by force.
func TestAbortDoesNotStopAStop(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			id := n.newVM("one", nil)
			n.SetGuest("one", Guest{IgnoresPowerButton: true})
			n.must(nil, "vm.start", id)
			c := &call{sim: n.Sim, session: &session{sim: n.Sim, user: n.accounts[0]}, method: "vm.stop"}
			c.params = []json.RawMessage{mustJSON(t, id), mustJSON(t, object{"force_after_timeout": true})}
			n.mu.Lock()
			j, err := n.startJob(c, n.methods["vm.stop"])
			n.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			asleep(n.clock, 1)
			n.must(nil, "core.job_abort", j.id)
			n.mu.Lock()
			state := j.state
			n.mu.Unlock()
			if want := map[bool]string{true: jobRunning, false: jobAborted}[n.release >= v26]; state != want {
				t.Errorf("after the abort the job is %s, want %s", state, want)
			}
			n.goesOff()
		})
	}
}

// Rule 16: a replication continues after its job was aborted, on every release. Until its end neither the source snapshot nor the
// target can be destroyed.
func TestAbortDoesNotStopAReplication(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/v", 16<<20, nil)
			if err := n.AddSnapshot("tank/v@s"); err != nil {
				t.Fatal(err)
			}
			m := Fault{Then: LongJob, Delay: time.Minute}.on(n.methods["replication.run_onetime"])
			c := &call{sim: n.Sim, session: &session{sim: n.Sim, user: n.accounts[0]}, method: "replication.run_onetime"}
			c.params = []json.RawMessage{mustJSON(t, object{"direction": "PUSH", "transport": "LOCAL", "source_datasets": []any{"tank/v"},
				"target_dataset": "tank/copy", "recursive": false, "name_regex": "s", "retention_policy": "NONE"})}
			n.mu.Lock()
			j, err := n.startJob(c, m)
			n.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			asleep(n.clock, 1)
			n.must(nil, "core.job_abort", j.id)
			n.mu.Lock()
			state, s := j.state, &n.Sim.state
			snapshotBusy, targetBusy := s.Snapshots["tank/v@s"].busy(), s.open(s.Datasets["tank/copy"])
			n.mu.Unlock()
			if state != jobAborted || !snapshotBusy || !targetBusy {
				t.Errorf("after the abort the job is %s, the snapshot is busy: %t, the target is busy: %t", state, snapshotBusy, targetBusy)
			}
			n.clock.Step(time.Minute)
			for range 1000 {
				n.mu.Lock()
				whole := s.Snapshots["tank/copy@s"] != nil && !s.open(s.Datasets["tank/copy"]) && !s.Snapshots["tank/v@s"].busy()
				n.mu.Unlock()
				if whole {
					return
				}
				time.Sleep(time.Millisecond)
			}
			t.Error("the replication did not continue to its end")
		})
	}
}

func readWhole(n *direct, volume string, p []byte) bool {
	_, err := n.ReadVolume(volume, p, 0)
	return err == nil
}
