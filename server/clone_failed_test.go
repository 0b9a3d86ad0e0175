package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// failure waits for the end of a task that fails, and returns its error.
func (s *copying) failure(client providerv1.ProviderClient, task *providerv1.TaskRef) (why string) {
	s.t.Helper()
	soon(s.t, "the task is done", func() bool {
		resp, err := client.TaskStatus(s.t.Context(), &providerv1.TaskStatusRequest{Task: task})
		if err != nil {
			s.t.Fatal(err)
		}
		why = resp.GetError()
		return resp.GetDone()
	})
	return why
}

// abortCopies aborts the NAS's jobs, as a user may. The copies continue.
func (s *copying) abortCopies() {
	s.t.Helper()
	api, err := truenas.New(truenastest.Config(s.address))
	if err != nil {
		s.t.Fatal(err)
	}
	defer api.Close() //nolint:errcheck // The test has no use for it any more.
	jobs, err := api.Jobs.List(s.t.Context(), truenas.Where("method", "replication.run_onetime"), truenas.Where("state", truenas.JobRunning))
	if err != nil || len(jobs) != 2 {
		s.t.Fatalf("%d jobs run: %v", len(jobs), err)
	}
	for _, job := range jobs {
		if err := api.Jobs.Abort(s.t.Context(), job.ID); err != nil {
			s.t.Error(err)
		}
	}
}

// copiesContinue checks that both copies and the snapshots that they are made from exist.
func (s *copying) copiesContinue() {
	s.t.Helper()
	state := s.nas.State()
	for _, disk := range []string{"root", "data"} {
		target, source := "tank/virtrigaud/vms/web_2/"+disk, "tank/virtrigaud/vms/web_1/"+disk+"@vrclone-full-web_2"
		if !slices.ContainsFunc(state.Datasets, func(d sim.DatasetState) bool { return d.Name == target }) {
			s.t.Errorf("%s is destroyed while it is copied", target)
		}
		if !slices.ContainsFunc(state.Snapshots, func(n sim.SnapshotState) bool { return n.ID == source }) {
			s.t.Errorf("%s is destroyed while it is copied", source)
		}
	}
	if n := s.clock.Waiting(); n != 2 {
		s.t.Errorf("%d copies continue, want 2", n)
	}
}

// Rule 16: a copy continues after its job was aborted. The clone is complete in the end, and nothing is copied twice.
func TestCloneWhoseJobsAreAborted(t *testing.T) {
	t.Parallel()
	for _, release := range full() {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/provider killed %t", release, killed), func(t *testing.T) {
				t.Parallel()
				s := newCopying(t, release)
				task := s.begin()
				client := s.client
				if killed {
					s.kill()
					client, _ = s.provider()
				}
				s.abortCopies()
				for range 3 {
					if taskDone(t, client, task) {
						t.Fatal("the task is done before the disks are copied")
					}
					time.Sleep(10 * time.Millisecond)
				}
				s.copiesContinue()
				s.clock.Step(copyTime)
				s.ends(client, task, 2)
			})
		}
	}
}

// TestCloneFailsPermanently: the task reports the failure, no object is left, and the clone can be requested again.
func TestCloneFailsPermanently(t *testing.T) {
	t.Parallel()
	for _, release := range full() {
		for _, tt := range []struct {
			name   string
			killed bool // the provider that began the clone is dead
		}{{"while it is waited for", false}, {"after a restart", true}} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				s := newCopying(t, release)
				s.nas.ClearFaults()
				s.slowly(&sim.CallError{Errno: 14, Reason: "[EFAULT] Simulated fault"})
				task := s.begin()
				client := s.client
				if tt.killed {
					s.kill()
					client, _ = s.provider()
					soon(t, "the copies are waited for", func() bool {
						return !taskDone(t, client, task) && raw(t, client, idOfWeb2)["clone_progress"] != ""
					})
				}
				s.clock.Step(copyTime)
				if why := s.failure(client, task); !strings.Contains(why, "copying") || !strings.Contains(why, "Simulated fault") {
					t.Errorf("the task failed with %q", why)
				}
				s.asBefore()
				other, _ := s.provider()
				if why := s.failure(other, task); !strings.Contains(why, "no VM") {
					t.Errorf("a provider without cached state reports %q", why)
				}
				again, err := client.Clone(t.Context(), s.request())
				if err != nil {
					t.Fatal(err)
				}
				s.ends(client, again.GetTask(), 4)
			})
		}
	}
}

// TestCloneFailsImmediately: Clone itself returns the error.
func TestCloneFailsImmediately(t *testing.T) {
	t.Parallel()
	for _, release := range full() {
		t.Run(release, func(t *testing.T) {
			s := newCopying(t, release, func(c *server.Config) { c.CloneWithin = time.Minute })
			s.nas.ClearFaults()
			s.nas.Inject(sim.Fault{Method: "replication.run_onetime", Nth: 2, Then: sim.FailJob})
			_, err := s.client.Clone(t.Context(), s.request())
			refusedWith(t, err, "FailedPrecondition", "Simulated fault")
			s.asBefore()
		})
	}
}

// TestTasksWithoutAClone: a task of an unknown clone is done, and a deleted clone is not reported as complete.
func TestTasksWithoutAClone(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10")
	f := newFamily(t, client, nas)
	f.create("a")
	for _, tt := range []struct{ name, task, says string }{
		{"a clone that is not there", "clone/" + idOfWeb2, "no VM"},
		{"a VM that is complete", "clone/" + f.ids["a"], ""},
		{"no id of a VM", "clone/1", ""},
		{"no id", "clone/", ""},
	} {
		resp, err := client.TaskStatus(t.Context(), &providerv1.TaskStatusRequest{Task: &providerv1.TaskRef{Id: tt.task}})
		if err != nil || !resp.GetDone() || (resp.GetError() == "") != (tt.says == "") || !strings.Contains(resp.GetError(), tt.says) {
			t.Errorf("%s: %v, %v", tt.name, resp, err)
		}
	}
}
