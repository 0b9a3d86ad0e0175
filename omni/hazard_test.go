package omni

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/api/omni/specs"
	"github.com/siderolabs/omni/client/pkg/infra/provision"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"

	"virtrigaud-provider-truenas/truenas/sim"
)

// everywhere runs a test against each release.
func everywhere(t *testing.T, test func(t *testing.T, w *world, nas *sim.Sim)) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onNAS(t, release, nil)
			test(t, newWorld(t, Backend{Name: "nas", Client: client}), nas)
		})
	}
}

// complete checks that the NAS has exactly the VM of a provisioned request, running and with all its parts.
func (w *world) complete(nas *sim.Sim, id string) {
	w.t.Helper()
	spec := w.provisioned(id)
	if names := machines(nas); len(names) != 1 {
		w.t.Fatalf("the NAS has the VMs %v", names)
	}
	vm := vmOf(w.t, nas, spec.GetUuid())
	kinds := map[any]int{}
	for _, d := range vm.Devices {
		kinds[d.Attributes["dtype"]]++
	}
	if vm.State != "RUNNING" || kinds["DISK"] != max(w.disks, 1) || kinds["NIC"] != 1 || kinds["CDROM"] != 1 {
		w.t.Errorf("VM %s is %s with %v", vm.Name, vm.State, kinds)
	}
	if reported := w.status(id).TypedSpec().Value.GetId(); reported != spec.GetUuid() {
		w.t.Errorf("the status has the UUID %q and the VM has %q", reported, spec.GetUuid())
	}
}

// checkRelease releases a request and checks for leftovers.
func (w *world) checkRelease(nas *sim.Sim, id string) {
	w.t.Helper()
	w.release(id)
	if left := leftovers(nas); len(left) > 0 {
		w.t.Errorf("left on the NAS: %v", left)
	}
}

// TestStepNames compares the names that Omni stores. Only additions at the end are allowed.
func TestStepNames(t *testing.T) {
	want := []string{"check the machine class", "prepare the Talos image", "create the virtual machine", "write its configuration", "start the virtual machine", "wait for it to join"}
	var got []string
	for _, step := range (&Provisioner{}).ProvisionSteps() {
		got = append(got, step.Name())
	}
	if !slices.Equal(got, want) || len(got) != stepCount {
		t.Errorf("the steps are %q, want %q", got, want)
	}
}

func TestRenamedStep(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		w.factory.SetDown(true)
		_, stop := w.start()
		w.request("one", class)
		w.failed("one", "schematic")
		stop()
		note := w.note("one")
		_, err := w.omni.UpdateWithConflicts(t.Context(), note.Metadata(), func(r resource.Resource) error {
			r.Metadata().Annotations().Set(stepAnnotation, "a step of another version")
			return nil
		}, state.WithUpdateOwner(note.Metadata().Owner()))
		if err != nil {
			t.Fatal(err)
		}
		w.factory.SetDown(false)
		_, stop = w.start()
		w.complete(nas, "one")
		w.checkRelease(nas, "one")
		stop()
	})
}

func TestPlainErrorKeepsRecord(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		var once sync.Once
		_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
			if at == 2 { // The first step would find the VM before it is recorded.
				once.Do(func() {
					if err := nas.AddVM("one", 1, 512); err != nil {
						t.Error(err)
					}
				})
			}
			return run()
		}))
		w.request("one", class)
		until(t, "the request has failed", func() bool {
			return w.status("one").TypedSpec().Value.GetStage() == specs.MachineRequestStatusSpec_FAILED
		})
		w.failed("one", "nas has a machine of this name that is not Omni's")
		if spec := w.note("one").TypedSpec().Value; !spec.GetNameTaken() || !spec.GetCommitted() || spec.GetSchematic() == "" {
			t.Errorf("noted is %v", spec)
		}
		w.release("one")
		if names := machines(nas); !slices.Equal(names, []string{"one"}) {
			t.Errorf("the NAS has %v; the manually created VM is gone", names)
		}
		stop()
	})
}

func TestConflictRunsAStepTwice(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		for i := range stepCount {
			var once sync.Once
			runs := atomic.Int32{}
			_, stop := w.start(around(func(at int, pctx stepContext, run func() error) error {
				err := run()
				if at == i {
					runs.Add(1)
					once.Do(func() { w.touch(pctx.GetRequestID()) })
				}
				return err
			}))
			id := fmt.Sprintf("conflict-%d", i)
			w.request(id, class)
			w.complete(nas, id)
			if runs.Load() < 2 {
				t.Errorf("step %d ran %d times", i, runs.Load())
			}
			w.checkRelease(nas, id)
			stop()
		}
	})
}

// touch changes a record concurrently with the step that holds it.
func (w *world) touch(id string) {
	note := w.note(id)
	_, err := w.omni.UpdateWithConflicts(w.t.Context(), note.Metadata(), func(r resource.Resource) error {
		r.Metadata().Annotations().Set("touched", time.Now().String())
		return nil
	}, state.WithUpdateOwner(note.Metadata().Owner()))
	if err != nil {
		w.t.Error(err)
	}
}

func TestRestartBetweenAnyTwoSteps(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		for i := range stepCount {
			id := fmt.Sprintf("restart-%d", i)
			reached := make(chan struct{}, 1)
			hold := make(chan struct{})
			_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
				if at == i {
					select {
					case reached <- struct{}{}:
					default:
					}
					<-hold
					return provision.NewRetryError(errors.New("the process ends here"), time.Hour)
				}
				return run()
			}))
			w.request(id, class)
			<-reached
			ended := make(chan struct{})
			go func() { defer close(ended); stop() }()
			close(hold)
			<-ended
			_, stop = w.start()
			w.complete(nas, id)
			w.checkRelease(nas, id)
			stop()
		}
	})
}

// A process may end after an action and before it is saved, which is a restart in the middle of a step.
func TestRestartBeforeAStepIsSaved(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		for i := range stepCount {
			id := fmt.Sprintf("unsaved-%d", i)
			reached := make(chan struct{}, 1)
			_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
				err := run()
				if at == i && err == nil {
					select {
					case reached <- struct{}{}:
					default:
					}
					return errors.New("nothing of this step is saved")
				}
				return err
			}))
			w.request(id, class)
			<-reached
			stop()
			_, stop = w.start()
			w.complete(nas, id)
			w.checkRelease(nas, id)
			stop()
		}
	})
}

func TestReleasedBeforeProvisioned(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		for i := range stepCount {
			for _, tt := range []struct {
				name string
				err  error
			}{{"parked", provision.NewRetryInterval(time.Hour)}, {"failed", errors.New("nothing of this step is saved")}} {
				id := fmt.Sprintf("early-%d-%s", i, tt.name)
				reached := make(chan struct{}, 1)
				_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
					err := run()
					if at == i && err == nil {
						select {
						case reached <- struct{}{}:
						default:
						}
						return tt.err
					}
					return err
				}))
				w.request(id, class)
				<-reached
				w.checkRelease(nas, id)
				stop()
			}
		}
	})
}

func TestTeardownWithoutRecord(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.request("one", class)
		w.complete(nas, "one")
		stop()
		note := w.note("one")
		if err := w.omni.Destroy(t.Context(), note.Metadata(), state.WithDestroyOwner(note.Metadata().Owner())); err != nil {
			t.Fatal(err)
		}
		if _, err := w.omni.Teardown(t.Context(), infrares.NewMachineRequest("one").Metadata()); err != nil {
			t.Fatal(err)
		}
		_, stop = w.start()
		w.checkRelease(nas, "one")
		stop()
	})
}

func TestMachineDeletedDuringCreation(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		var once sync.Once
		_, stop := w.start(around(func(at int, pctx stepContext, run func() error) error {
			if at == 4 {
				once.Do(func() { w.deleteByHand(pctx.State.TypedSpec().Value.GetVmId()) })
			}
			return run()
		}))
		w.request("one", class)
		w.complete(nas, "one")
		w.checkRelease(nas, "one")
		stop()
	})
}

func TestMachineDeletedAfterCreation(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.request("one", class)
		w.complete(nas, "one")
		w.health("")
		uuid := w.note("one").TypedSpec().Value.GetUuid()
		w.deleteByHand(w.note("one").TypedSpec().Value.GetVmId())
		advice := fmt.Sprintf(`one: VM was deleted on nas: run "omnictl delete link %s"`, uuid)
		w.health(advice)
		w.failed("one", advice) // Omni shows the machine as running, so the request has to report the deletion.
		w.checkRelease(nas, "one")
		w.health("")
		stop()
	})
}

func TestUnreachableProviderInEachStep(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			link := &link{}
			client, nas := onNAS(t, release, nil, link.option())
			w := newWorld(t, Backend{Name: "nas", Client: client})
			for i := range stepCount {
				id := fmt.Sprintf("away-%d", i)
				var once sync.Once
				reached := make(chan struct{})
				_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
					if at == i {
						once.Do(func() { link.away.Store(true); close(reached) })
					}
					return run()
				}))
				w.request(id, class)
				<-reached
				if i == 1 || i == 2 || i == 4 {
					w.failed(id, "nas cannot be reached")
				}
				w.health("nas cannot be reached")
				link.away.Store(false)
				w.complete(nas, id)
				w.checkRelease(nas, id)
				stop()
			}
		})
	}
}

// The link to the NAS is down, and recovers while a machine is created.
func TestUnreachableNASDuringCreation(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		var once sync.Once
		_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
			if at == 2 {
				once.Do(func() { nas.SetOffline(true) })
			}
			return run()
		}))
		w.request("one", class)
		w.failed("one", "nas cannot be reached")
		nas.SetOffline(false)
		w.complete(nas, "one")
		w.checkRelease(nas, "one")
		stop()
	})
}

func TestUnreachableProviderDuringRelease(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			link := &link{}
			client, nas := onNAS(t, release, nil, link.option())
			w := newWorld(t, Backend{Name: "nas", Client: client})
			_, stop := w.start()
			w.request("one", class)
			w.complete(nas, "one")
			link.away.Store(true)
			if _, err := w.omni.Teardown(t.Context(), infrares.NewMachineRequest("one").Metadata()); err != nil {
				t.Fatal(err)
			}
			w.health("one: removal of the VM failed: nas cannot be reached")
			link.away.Store(false)
			w.checkRelease(nas, "one")
			w.health("")
			stop()
		})
	}
}
