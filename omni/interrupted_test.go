package omni

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/siderolabs/omni/client/pkg/infra/provision"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/truenas/sim"
)

// edit changes a machine request in Omni.
func (w *world) edit(id string, change func(*infrares.MachineRequest)) {
	w.t.Helper()
	_, err := safe.StateUpdateWithConflicts(w.t.Context(), w.omni, infrares.NewMachineRequest(id).Metadata(), func(r *infrares.MachineRequest) error {
		change(r)
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
}

// A process may end after the SDK has saved the record of a step and before it saves the status with the UUID. A later step writes
// the UUID again.
func TestUUIDIsReportedAgainAfterALostStatus(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		var once sync.Once
		_, stop := w.start(around(func(at int, pctx stepContext, run func() error) error {
			err := run()
			if at == 2 && err == nil {
				once.Do(func() { pctx.SetMachineUUID("") })
			}
			return err
		}))
		w.request("one", class)
		w.complete(nas, "one")
		w.checkRelease(nas, "one")
		stop()
	})
}

// A VM that is deleted while its request waits for it to join is created again, and one that is switched off is started.
func TestMachineIsKeptRunningUntilItJoins(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		w.cfg.WaitForJoin = true
		_, stop := w.start()
		w.request("one", class)
		running := func() bool { return len(nas.VMs()) == 1 && nas.VMs()[0].State == "RUNNING" }
		joins := func() bool {
			return strings.Contains(w.status("one").TypedSpec().Value.GetStatus(), "wait for it to join") && running()
		}
		until(t, "the request waits for the machine to join", joins)
		w.deleteByHand(w.note("one").TypedSpec().Value.GetVmId())
		until(t, "the machine is created and started again", running)
		nas.PowerOffGuest(nas.VMs()[0].Name)
		until(t, "the machine is started again", running)
		w.join("one")
		w.complete(nas, "one")
		w.checkRelease(nas, "one")
		stop()
	})
}

// With --leave-stopped, a VM that is switched off before it joins stays off.
func TestMachineStaysOffBeforeItJoins(t *testing.T) {
	link := &link{about: func(method string) bool { return method == "Describe" }}
	client, nas := onNAS(t, "25.10", nil, link.option())
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.WaitForJoin, w.cfg.LeaveStopped = true, true
	_, stop := w.start()
	w.request("one", class)
	until(t, "the request waits for the machine to join", func() bool {
		return strings.Contains(w.status("one").TypedSpec().Value.GetStatus(), "wait for it to join")
	})
	nas.PowerOffGuest("one")
	link.begin(0)
	until(t, "the step has looked at the machine", func() bool { return len(link.made()) > 2 })
	if state := nas.VMs()[0].State; state != "STOPPED" {
		t.Errorf("the VM is %s", state)
	}
	w.join("one")
	w.provisioned("one")
	w.checkRelease(nas, "one")
	stop()
}

// The image is prepared again when the Talos version of the request changes before its machine is recorded. A machine of the earlier
// version, whose Create was called without a reply, is replaced.
func TestTalosVersionChanges(t *testing.T) {
	for _, release := range releases {
		for name, lost := range map[string]int{"before Create": 0, "after a lost reply of Create": 2} { // The first Create is the dry run.
			t.Run(release+"/"+name, func(t *testing.T) {
				t.Parallel()
				link := &link{about: func(method string) bool { return method == "Create" }}
				client, nas := onNAS(t, release, nil, link.option())
				w := newWorld(t, Backend{Name: "nas", Client: client})
				link.begin(lost)
				var once sync.Once
				_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
					change := func() {
						w.edit("one", func(r *infrares.MachineRequest) { r.TypedSpec().Value.TalosVersion = "1.12.4" })
					}
					changed := false
					if at == 2 && lost == 0 {
						once.Do(func() { change(); changed = true })
					}
					if changed {
						return provision.NewRetryInterval(time.Millisecond)
					}
					err := run()
					if at == 2 && err != nil && lost > 0 && len(link.made()) == lost {
						once.Do(change)
					}
					return err
				}))
				w.request("one", class)
				w.complete(nas, "one")
				if version := w.note("one").TypedSpec().Value.GetTalosVersion(); version != "v1.12.4" {
					t.Errorf("the machine has Talos %s", version)
				}
				if fetched := strings.Join(w.factory.Fetched(), " "); !strings.Contains(fetched, "/v1.12.4/") {
					t.Errorf("fetched: %s", fetched)
				}
				w.checkRelease(nas, "one")
				stop()
			})
		}
	}
}

// The reply of Create is lost, and the request changes before Create is repeated. The machine has the new size.
func TestClassChangesAfterALostCreate(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			link := &link{about: func(method string) bool { return method == "Create" }}
			client, nas := onNAS(t, release, nil, link.option())
			w := newWorld(t, Backend{Name: "nas", Client: client})
			link.begin(2) // The first one is the dry run.
			var once sync.Once
			_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
				err := run()
				if at == 2 && err != nil && len(link.made()) == 2 {
					once.Do(func() {
						w.edit("one", func(r *infrares.MachineRequest) {
							r.TypedSpec().Value.ProviderData = strings.Replace(class, "cores: 2", "cores: 3", 1)
						})
					})
				}
				return err
			}))
			w.request("one", class)
			w.complete(nas, "one")
			if cores := fmt.Sprint(nas.VMs()[0].Config["vcpus"], nas.VMs()[0].Config["cores"]); !strings.Contains(cores, "3") {
				t.Errorf("the VM has %s", cores)
			}
			w.checkRelease(nas, "one")
			stop()
		})
	}
}

// A backend refuses a Create, and has a machine of the request with data whose creation is not recorded. The machine is not removed.
func TestUnrecordedMachineWithDataStays(t *testing.T) {
	link := &link{about: func(method string) bool { return method == "Create" }}
	client, nas := onNAS(t, "25.10", nil, link.option())
	w := newWorld(t, Backend{Name: "nas", Client: client})
	link.begin(2) // The first one is the dry run.
	var once sync.Once
	_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
		err := run()
		if at == 2 && err != nil && len(link.made()) == 2 {
			once.Do(func() {
				data := bytes.Repeat([]byte("data"), 1<<19)
				if _, err := nas.WriteVolume("tank/virtrigaud/vms/one/root", data, 0); err != nil {
					t.Error(err)
				}
				link.refuse(1, codes.AlreadyExists)
			})
		}
		return err
	}))
	w.request("one", class)
	until(t, "the status names the machine with data", func() bool {
		return strings.Contains(w.status("one").TypedSpec().Value.GetError(), "VM one on nas may have data")
	})
	if len(nas.VMs()) != 1 {
		t.Errorf("the NAS has %d VMs", len(nas.VMs()))
	}
	stop()
}

// A backend refuses a repeated Create whose first reply was lost. The machine of the first one is removed, whether the request moves
// to the other backend or stays.
func TestRefusedCreateAfterALostReplyLeavesNoMachine(t *testing.T) {
	for code, provider := range map[codes.Code]string{
		codes.ResourceExhausted: "west", codes.InvalidArgument: "west", codes.FailedPrecondition: "east", codes.AlreadyExists: "east",
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			w, east, west, links := twoNASes(t, nil)
			links[0].about = func(method string) bool { return method == "Create" }
			links[0].begin(2) // The first one is the dry run.
			var once sync.Once
			_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
				err := run()
				if at == 2 && err != nil && len(links[0].made()) == 2 {
					once.Do(func() { links[0].refuse(1, code) })
				}
				return err
			}))
			w.request("one", class)
			if spec := w.provisioned("one"); spec.GetProvider() != provider {
				t.Errorf("the machine is on %s, want %s", spec.GetProvider(), provider)
			}
			if all := append(machines(east), machines(west)...); len(all) != 1 {
				t.Errorf("east has %v, west has %v", leftovers(east), leftovers(west))
			}
			w.release("one")
			if left := append(leftovers(east), leftovers(west)...); len(left) > 0 {
				t.Errorf("left after the release: %v", left)
			}
			stop()
		})
	}
}

// A request is released after its Create was interrupted before the VM existed, and before Create is repeated. Its dataset is removed
// too.
func TestReleaseAfterAnInterruptedCreate(t *testing.T) {
	for _, method := range []string{"vm.create", "vm.device.create", "pool.dataset.update"} {
		t.Run(method, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
				var once sync.Once
				reached := make(chan struct{})
				_, stop := w.start(around(func(at int, _ stepContext, run func() error) error {
					if at != 2 {
						return run()
					}
					nas.Inject(sim.Fault{Method: method, Nth: 1, Then: sim.CutBefore})
					if err := run(); err == nil {
						t.Error("Create succeeded")
					}
					once.Do(func() { close(reached) })
					return provision.NewRetryInterval(time.Hour)
				}))
				w.request("one", class)
				<-reached
				w.checkRelease(nas, "one")
				stop()
			})
		})
	}
}
