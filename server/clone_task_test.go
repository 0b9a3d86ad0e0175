package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// full returns the releases that support full clones.
func full() []string { return releases }

// copyTime is the duration of a disk's copy on the NAS, on a clock that the test moves.
const copyTime = 2 * time.Hour

// asTask makes every full clone return a task as soon as possible.
func asTask(c *server.Config) { c.CloneWithin = time.Nanosecond }

// copying is a NAS with slow copies of the two disks of web-1.
type copying struct {
	t       *testing.T
	nas     *sim.Sim
	address *sim.Server
	clock   *sim.StepClock
	client  providerv1.ProviderClient
	kill    func() // ends the provider
	before  sim.State
}

func newCopying(t *testing.T, release string, opts ...func(*server.Config)) *copying {
	t.Helper()
	s := &copying{t: t, clock: sim.NewStepClock(time.Now())}
	s.nas, s.address = truenastest.Serve(t, truenastest.Release(release), func(c *sim.Config) { c.Clock = s.clock })
	s.client, s.kill = s.provider(opts...)
	addImage(t, s.nas)
	newVM(t, s.client, "web-1")
	write(t, s.nas, "tank/virtrigaud/vms/web_1/root", "first")
	s.before = s.nas.State()
	s.slow()
	return s
}

// slow makes the next two copies long.
func (s *copying) slow() { s.slowly(nil) }

// slowly makes the next two copies slow, and lets them fail in the end if err is set.
func (s *copying) slowly(err *sim.CallError) {
	for n := range 2 {
		s.nas.Inject(sim.Fault{Method: "replication.run_onetime", Nth: n + 1, Then: sim.LongJob, Delay: copyTime, Err: err})
	}
}

func (s *copying) provider(opts ...func(*server.Config)) (client providerv1.ProviderClient, stop func()) {
	s.t.Helper()
	client, stop = startProvider(s.t, s.address, append([]func(*server.Config){asTask}, opts...)...)
	s.t.Cleanup(stop)
	return client, stop
}

func (s *copying) request() *providerv1.CloneRequest {
	return &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2", ClassJson: `{"cpu":4,"memory":"4Gi","firmware":"UEFI"}`, CustomizeJson: `{"hostname":"second"}`}
}

// begin requests a clone and waits until the NAS copies both disks.
func (s *copying) begin() *providerv1.TaskRef {
	s.t.Helper()
	resp, err := s.client.Clone(s.t.Context(), s.request())
	if err != nil || resp.GetTargetVmId() != idOfWeb2 || resp.GetTask().GetId() == "" {
		s.t.Fatalf("Clone: %v, %v", resp, err)
	}
	soon(s.t, "both disks are being copied", func() bool { return s.clock.Waiting() == 2 })
	return resp.GetTask()
}

// refuses checks that an operation has to wait for the clone.
func (s *copying) refuses(what string, err error) {
	s.t.Helper()
	if err == nil {
		s.t.Errorf("%s of a clone that is incomplete is done", what)
	}
	refusedWith(s.t, err, "Aborted", "full clone")
}

// ends checks that the clone is complete in the end, and was copied once.
func (s *copying) ends(client providerv1.ProviderClient, task *providerv1.TaskRef, copies int) {
	s.t.Helper()
	finish(s.t, client, task)
	if got := read(s.t, s.nas, "tank/virtrigaud/vms/web_2/root", 5); got != "first" {
		s.t.Errorf("the clone's disk holds %q", got)
	}
	checkIdentity(s.t, client, s.nas, idOfWeb1, idOfWeb2)
	if n := count(s.nas.Calls(), "replication.run_onetime"); n != copies {
		s.t.Errorf("%d copies were begun, want %d", n, copies)
	}
	for _, id := range []string{idOfWeb1, idOfWeb2} {
		if _, err := client.Delete(s.t.Context(), &providerv1.DeleteRequest{Id: id}); err != nil {
			s.t.Error(err)
		}
	}
	if left := below(s.nas.State(), "tank/virtrigaud/"); len(left) != 2 || len(s.nas.State().Snapshots) != 1 { // vms and staging
		s.t.Errorf("leftovers: %v, %v", left, s.nas.State().Snapshots)
	}
}

// asBefore checks that no object of the clone is left.
func (s *copying) asBefore() {
	s.t.Helper()
	if after := s.nas.State(); !sameButTree(s.before, after) {
		s.t.Errorf("leftovers:\n%s", changes(s.t, s.before, after))
	}
}

func raw(t *testing.T, client providerv1.ProviderClient, id string) map[string]string {
	t.Helper()
	vm := describe(t, client, id)
	if !vm.GetExists() || vm.GetPowerState() != "Off" {
		t.Errorf("Describe: %v", vm)
	}
	raw := map[string]string{}
	if err := json.Unmarshal([]byte(vm.GetProviderRawJson()), &raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestLongCloneIsATask: the clone is reported as in progress until it is complete, and calls for it and its source are refused.
func TestLongCloneIsATask(t *testing.T) {
	t.Parallel()
	for _, release := range full() {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			core, lines := observer.New(zap.InfoLevel)
			s := newCopying(t, release, func(c *server.Config) { c.Logger = zap.New(core) })
			task := s.begin()
			for range 3 {
				if taskDone(t, s.client, task) {
					t.Fatal("the task is done before the disks are copied")
				}
			}
			again, err := s.client.Clone(t.Context(), s.request())
			if err != nil || again.GetTask().GetId() != task.GetId() || again.GetTargetVmId() != idOfWeb2 {
				t.Errorf("Clone again: %v, %v", again, err)
			}
			soon(t, "Describe returns the progress of the copies", func() bool {
				raw := raw(t, s.client, idOfWeb2)
				return raw["state"] == "CLONING" && raw["clone_of"] == idOfWeb1 && raw["clone_progress"] == "data 50 %, root 50 %"
			})
			s.refusesAll()
			s.clock.Step(copyTime)
			finish(t, s.client, task)
			if raw := raw(t, s.client, idOfWeb2); raw["state"] != "STOPPED" || raw["clone_of"] != "" {
				t.Errorf("Describe of the whole clone: %v", raw)
			}
			if n := lines.FilterMessage("copying disk").FilterField(zap.Float64("percent", 50)).Len(); n != 2 {
				t.Errorf("%d lines of the log report half a disk: %v", n, lines.All())
			}
			s.ends(s.client, task, 2)
		})
	}
}

// refusesAll makes all requests that have to wait for the clone.
func (s *copying) refusesAll() {
	s.t.Helper()
	ctx := s.t.Context()
	_, err := s.client.Power(ctx, &providerv1.PowerRequest{Id: idOfWeb2, Op: providerv1.PowerOp_POWER_OP_ON})
	s.refuses("Power", err)
	_, err = s.client.Delete(ctx, &providerv1.DeleteRequest{Id: idOfWeb2})
	s.refuses("Delete", err)
	_, err = s.client.Delete(ctx, &providerv1.DeleteRequest{Id: idOfWeb1})
	s.refuses("Delete of its source", err)
	_, err = s.client.Create(ctx, wanted("web-2"))
	s.refuses("Create", err)
	_, err = s.client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: idOfWeb2, NameHint: "s"})
	s.refuses("SnapshotCreate", err)
	_, err = s.client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: idOfWeb2, TargetName: "web-3", Linked: true})
	s.refuses("Clone", err)
	_, err = s.client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2", Linked: true})
	s.refuses("linked Clone of the same name", err)
}

// TestCloneTaskSurvivesRestart: the successor of a killed provider waits for the copies that continue on the NAS.
func TestCloneTaskSurvivesRestart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		become func(*server.Config) // the configuration of the next process
		then   func(*copying)       // the event between the two processes
		copies int
	}{
		{name: "the same pod", copies: 2},
		{name: "another pod", become: func(c *server.Config) { c.Instance, c.LeaseFor = "replica-2", time.Second }, copies: 2},
		{name: "the copies end meanwhile", then: func(s *copying) { s.clock.Step(copyTime) }, copies: 2},
		{name: "the middleware restarts too", then: func(s *copying) { s.nas.RestartMiddleware(); s.slow() }, copies: 4},
	} {
		for _, release := range full() {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				s := newCopying(t, release)
				task := s.begin()
				s.kill()
				if tt.then != nil {
					tt.then(s)
				}
				var opts []func(*server.Config)
				if tt.become != nil {
					opts = append(opts, tt.become)
				}
				next, _ := s.provider(opts...)
				if s.clock.Waiting() > 0 && taskDone(t, next, task) {
					t.Fatal("the task is done before the disks are copied")
				}
				if raw := raw(t, next, idOfWeb2); raw["state"] != "CLONING" && s.clock.Waiting() > 0 {
					t.Errorf("Describe: %v", raw)
				}
				soon(t, "the task is over or the copies are waited for", func() bool {
					done := taskDone(t, next, task)
					return done || s.clock.Waiting() == 2 && raw(t, next, idOfWeb2)["clone_progress"] != ""
				})
				s.clock.Step(copyTime)
				s.ends(next, task, tt.copies)
			})
		}
	}
}

// TestCloneTaskOnAnotherReplica: one replica copies, and the other reports the progress.
func TestCloneTaskOnAnotherReplica(t *testing.T) {
	t.Parallel()
	for _, release := range full() {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			s := newCopying(t, release)
			task := s.begin()
			other, _ := s.provider(func(c *server.Config) { c.Instance = "replica-2" })
			begun := len(s.nas.Calls())
			for range 3 {
				if taskDone(t, other, task) {
					t.Fatal("the task is done before the disks are copied")
				}
			}
			if calls := s.nas.Calls()[begun:]; count(calls, "pool.dataset.create") > 0 {
				t.Errorf("the second replica began the work of the first: %v", calls)
			}
			mine := s.client
			s.client = other
			s.refusesAll()
			again, err := other.Clone(t.Context(), s.request())
			if err != nil || again.GetTask().GetId() != task.GetId() {
				t.Errorf("Clone: %v, %v", again, err)
			}
			s.clock.Step(copyTime)
			finish(t, other, task)
			s.ends(mine, task, 2)
		})
	}
}

// TestCloneCopiedByTwoReplicas: when two replicas take over at the same moment, the slower one damages nothing.
func TestCloneCopiedByTwoReplicas(t *testing.T) {
	t.Parallel()
	for _, release := range full() {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			s := newCopying(t, release)
			api, err := truenas.New(truenastest.Config(s.address))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = api.Close() })
			var overtaken atomic.Bool
			s.nas.OnCall(func(_ int, method string) {
				if method != "replication.run_onetime" || overtaken.Swap(true) {
					return
				}
				if _, err := api.Snapshots.Copy(t.Context(), "tank/virtrigaud/vms/web_1/root", "vrclone-full-web_2", "tank/virtrigaud/vms/web_2/root", false); err != nil {
					t.Error(err)
				}
			})
			resp, err := s.client.Clone(t.Context(), s.request())
			if err != nil {
				t.Fatal(err)
			}
			soon(t, "the task is done", func() bool {
				s.clock.Step(copyTime)
				return taskDone(t, s.client, resp.GetTask())
			})
			s.ends(s.client, resp.GetTask(), 3)
		})
	}
}

// TestAbandonedClone: an abandoned clone can be deleted when its copies have ended. An abort of their jobs does not end them. A
// Delete of its source resumes it.
func TestAbandonedClone(t *testing.T) {
	t.Parallel()
	for _, release := range full() {
		for _, tt := range []struct {
			name    string
			between func(*copying)
		}{{"is deleted", func(*copying) {}}, {"is deleted after its jobs were aborted", (*copying).abortCopies}} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				s := newCopying(t, release)
				task := s.begin()
				s.kill()
				tt.between(s)
				next, _ := s.provider()
				del := func() error {
					_, err := next.Delete(t.Context(), &providerv1.DeleteRequest{Id: idOfWeb2})
					return err
				}
				refusedWith(t, del(), "Aborted", "copying")
				s.copiesContinue()
				s.clock.Step(copyTime)
				soon(t, "the clone is deleted", func() bool { return del() == nil })
				s.asBefore()
				if why := s.failure(next, task); !strings.Contains(why, "deleted") {
					t.Errorf("the task failed with %q", why)
				}
				s.asBefore()
			})
		}
		t.Run(release+"/and its source is deleted", func(t *testing.T) {
			t.Parallel()
			s := newCopying(t, release)
			task := s.begin()
			s.kill()
			next, _ := s.provider()
			_, err := next.Delete(t.Context(), &providerv1.DeleteRequest{Id: idOfWeb1})
			s.refuses("Delete of its source", err)
			s.clock.Step(copyTime)
			s.ends(next, task, 2)
		})
	}
}

// A clone in a namespace that another process completes is in the dataset of its beginning.
func TestNamespacedCloneSurvivesRestart(t *testing.T) {
	t.Parallel()
	s := newCopying(t, "25.10")
	req := s.request()
	req.TargetVm = &providerv1.ObjectIdentity{Namespace: "team-a", Name: "web-2"}
	resp, err := s.client.Clone(t.Context(), req)
	if err != nil || resp.GetTask().GetId() == "" {
		t.Fatalf("Clone: %v, %v", resp, err)
	}
	soon(t, "both disks are being copied", func() bool { return s.clock.Waiting() == 2 })
	s.kill()
	s.clock.Step(2 * copyTime)
	client, _ := s.provider()
	finish(t, client, resp.GetTask())
	if got := read(t, s.nas, "tank/virtrigaud/vms/team_aZZweb_2/root", 5); got != "first" {
		t.Errorf("the clone's disk holds %q", got)
	}
	for _, vm := range s.nas.VMs() {
		for _, device := range vm.Devices {
			if path := fmt.Sprint(device.Attributes["path"]); vm.Name == "team_aZZweb_2" && strings.Contains(path, "/vms/") && !strings.Contains(path, "/vms/team_aZZweb_2/") {
				t.Errorf("the clone has %s", path)
			}
		}
	}
	if left := below(s.nas.State(), "tank/virtrigaud/vms/web_2"); len(left) > 0 {
		t.Errorf("there is %v", left)
	}
}
