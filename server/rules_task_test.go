package server_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// steppedVM is a running VM, and a NAS whose clock the test moves.
type steppedVM struct {
	client  providerv1.ProviderClient
	nas     *sim.Sim
	address *sim.Server
	clock   *sim.StepClock
	id      string
}

// running makes a VM with a guest, and starts it.
func running(t *testing.T, release string, guest sim.Guest) steppedVM {
	t.Helper()
	s := steppedVM{clock: sim.NewStepClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
	s.nas, s.address = truenastest.Serve(t, func(c *sim.Config) { c.Release, c.Clock = release, s.clock })
	s.nas.SetGuest("", guest)
	s.client = s.another(t)
	s.id = makeAndStart(t, s.client, wanted("web-1"))
	return s
}

// another returns a second replica of the provider, or the provider after its restart.
func (s steppedVM) another(t *testing.T) providerv1.ProviderClient {
	t.Helper()
	return withKey(t, s.address, func(*truenas.Config) {})
}

func (s steppedVM) power(t *testing.T, op providerv1.PowerOp) *providerv1.TaskRef {
	t.Helper()
	resp, err := s.client.Power(t.Context(), &providerv1.PowerRequest{Id: s.id, Op: op, GracefulTimeoutSeconds: 60})
	if err != nil {
		t.Fatalf("%v: %v", op, err)
	}
	return resp.GetTask()
}

// advance moves the clock by d when that many of the NAS's jobs and guests wait for it: others would miss the move.
func (s steppedVM) advance(t *testing.T, waiting int, d time.Duration) {
	t.Helper()
	soon(t, fmt.Sprintf("%d wait for the clock", waiting), func() bool { return s.clock.Waiting() == waiting })
	s.clock.Step(d)
}

// taskDone polls a task; the response is never an error.
func taskDone(t *testing.T, client providerv1.ProviderClient, task *providerv1.TaskRef) bool {
	t.Helper()
	resp, err := client.TaskStatus(t.Context(), &providerv1.TaskStatusRequest{Task: task})
	if err != nil || resp.GetError() != "" {
		t.Fatalf("TaskStatus: error %q, %v; the manager would keep the task forever", resp.GetError(), err)
	}
	return resp.GetDone()
}

func describe(t *testing.T, client providerv1.ProviderClient, id string) *providerv1.DescribeResponse {
	t.Helper()
	vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// soon waits for an effect in another process or goroutine.
func soon(t *testing.T, what string, met func() bool) {
	t.Helper()
	for give := time.Now().Add(10 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("not true after 10 s: %s", what)
		}
	}
}

// TestTaskSurvivesRestart polls a task with a provider that did not begin it.
func TestTaskSurvivesRestart(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			s := running(t, release, sim.Guest{IgnoresPowerButton: true})
			task := s.power(t, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL)
			if task.GetId() == "" {
				t.Fatal("a graceful shutdown of a running VM has no task")
			}
			second := s.another(t)
			for range 3 {
				if taskDone(t, second, task) {
					t.Fatal("the task is done before the guest's time is over")
				}
			}
			s.advance(t, 1, 91*time.Second) // the job waits for the VM's shutdown timeout, independent of the caller's timeout
			soon(t, "the task is done", func() bool { return taskDone(t, second, task) })
			// The guest ignores the shutdown: the job succeeded and the VM still runs, which only Describe may report.
			if vm := describe(t, second, s.id); vm.GetPowerState() != "On" {
				t.Errorf("Describe says %q", vm.GetPowerState())
			}
		})
	}
}

// TestFailedTasks: a task is done without an error, whatever its result.
func TestFailedTasks(t *testing.T) {
	t.Parallel()
	const graceful, reboot = providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, providerv1.PowerOp_POWER_OP_REBOOT
	for _, release := range releases {
		for _, tt := range []struct {
			name string
			op   providerv1.PowerOp
			then func(steppedVM)
		}{
			{"the shutdown's job fails", graceful, nil},
			{"the reboot's job fails", reboot, nil},
			{"the shutdown's job is forgotten", graceful, func(s steppedVM) { s.nas.RestartMiddleware() }},
			{"the reboot's job is forgotten", reboot, func(s steppedVM) { s.nas.RestartMiddleware() }},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				s := running(t, release, sim.Guest{IgnoresPowerButton: true})
				if tt.then == nil {
					for _, method := range []string{"vm.stop", "vm.restart"} {
						s.nas.Inject(sim.Fault{Method: method, Then: sim.FailJob})
					}
				}
				task := s.power(t, tt.op)
				if tt.then != nil {
					tt.then(s)
				}
				soon(t, "the task is done", func() bool { return taskDone(t, s.client, task) })
				if vm := describe(t, s.client, s.id); vm.GetPowerState() != "On" {
					t.Errorf("Describe says %q", vm.GetPowerState())
				}
			})
		}
	}
}

// TestTaskWhileTheNASIsAway: the task is not done and has no error, because its state is unknown.
func TestTaskWhileTheNASIsAway(t *testing.T) {
	t.Parallel()
	nas, address := truenastest.Serve(t)
	nas.SetGuest("", sim.Guest{IgnoresPowerButton: true})
	client := withKey(t, address, impatient)
	s := steppedVM{client: client, nas: nas, id: makeAndStart(t, client, wanted("web-1"))}
	task := s.power(t, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL)
	nas.SetOffline(true)
	if taskDone(t, client, task) {
		t.Error("the task is done while the NAS is unreachable")
	}
}

// TestTaskOfAnotherJob does not wait for another job with the same number: TrueNAS restarts its numbering when it restarts.
func TestTaskOfAnotherJob(t *testing.T) {
	t.Parallel()
	s := running(t, "25.10", sim.Guest{IgnoresPowerButton: true})
	task := s.power(t, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL)

	var job, vm int64
	if n, err := fmt.Sscanf(task.GetId(), "vm.stop/%d/%d", &job, &vm); n != 2 {
		t.Fatalf("task %q: %v", task.GetId(), err)
	}
	for _, id := range []string{
		fmt.Sprintf("vm.restart/%d/%d", job, vm), fmt.Sprintf("vm.stop/%d/%d", job, vm+1), fmt.Sprintf("vm.stop/%d/%d", job+1000, vm),
	} {
		if !taskDone(t, s.client, &providerv1.TaskRef{Id: id}) {
			t.Errorf("task %s waits for the job of %s", id, task.GetId())
		}
	}
}

// TestGracefulShutdownIsRequestedOnce: the manager sends it again every five seconds until the VM is off.
func TestGracefulShutdownIsRequestedOnce(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			s := running(t, release, sim.Guest{ShutdownTime: 30 * time.Second})
			s.nas.ResetCalls()
			first := s.power(t, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL)
			for range 3 {
				if task := s.power(t, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL); task.GetId() != "" {
					t.Errorf("a VM that is shutting down has another task %q", task.GetId())
				}
			}
			s.advance(t, 2, 31*time.Second) // the job and the guest
			soon(t, "the VM is off", func() bool { return describe(t, s.client, s.id).GetPowerState() == "Off" })
			soon(t, "the task is done", func() bool { return taskDone(t, s.client, first) })
			if task := s.power(t, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL); task.GetId() != "" {
				t.Errorf("a VM that is off has the task %q", task.GetId())
			}
			if calls := s.nas.Calls(); count(calls, "vm.stop") != 1 {
				t.Errorf("vm.stop was called %d times: %v", count(calls, "vm.stop"), calls)
			}
		})
	}
}

func count(calls []string, method string) int {
	return len(slices.DeleteFunc(slices.Clone(calls), func(c string) bool { return c != method }))
}
