package omni

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
	"virtrigaud-provider-truenas/truenas/sim"
)

func TestStoppedMachineIsStarted(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.request("one", class)
		w.complete(nas, "one")
		nas.PowerOffGuest("one")
		until(t, "it runs again", func() bool { return nas.VMs()[0].State == "RUNNING" })
		stop()
	})
}

func TestLeaveStopped(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.LeaveStopped = true
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	nas.PowerOffGuest("one")
	w.health("one: VM is off on nas")
	w.failed("one", "one: VM is off on nas")
	if state := nas.VMs()[0].State; state != "STOPPED" {
		t.Errorf("it is %s", state)
	}
	stop()
}

// forget removes a request and its record from Omni, as a restore from a backup can.
func (w *world) forget(id string, note bool) {
	w.t.Helper()
	if note {
		n := w.note(id)
		if err := w.omni.Destroy(w.t.Context(), n.Metadata(), state.WithDestroyOwner(n.Metadata().Owner())); err != nil {
			w.t.Fatal(err)
		}
	}
	md := infrares.NewMachineRequest(id).Metadata()
	if err := w.omni.RemoveFinalizer(w.t.Context(), md, providerID+".ProvisionController"); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.omni.Teardown(w.t.Context(), md); err != nil {
		w.t.Fatal(err)
	}
	if err := w.omni.Destroy(w.t.Context(), md); err != nil {
		w.t.Fatal(err)
	}
}

func TestOrphans(t *testing.T) {
	for _, tt := range []struct {
		name   string
		what   Orphans
		noted  bool // the record outlives the request
		gone   bool
		health string
	}{
		{"reported", ReportOrphans, false, false, "one: VM on nas has no machine request"},
		{"reported, with a note", ReportOrphans, true, false, "one: VM on nas has no machine request"},
		{"removed", RemoveOrphans, false, true, ""},
		{"removed, with a note", RemoveOrphans, true, true, ""},
		{"ignored", IgnoreOrphans, false, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
				_, stop := w.start()
				w.request("one", class)
				w.request("two", class)
				w.provisioned("one")
				w.provisioned("two")
				stop()
				w.forget("one", !tt.noted)
				w.cfg.Orphans, w.cfg.OrphanGrace = tt.what, 200*time.Millisecond
				_, stop = w.start()
				if tt.gone {
					until(t, "it is gone", func() bool { return slices.Equal(machines(nas), []string{"two"}) })
					until(t, "nothing is noted", func() bool { return w.note("one") == nil })
				}
				w.health(tt.health)
				stop()
				if want := map[bool]int{true: 1, false: 2}[tt.gone]; len(machines(nas)) != want {
					t.Errorf("the NAS has %v", machines(nas))
				}
			})
		})
	}
}

func TestMachinesOfOthersAreNotOrphans(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		for name, m := range map[string]mark{"other-provider": {"another", "omni.example"}, "other-omni": {providerID, "elsewhere.example"}} {
			c := Class{Cores: 1, MemoryMiB: 1024, DiskGiB: 5, StoragePool: "tank"}
			req := c.createRequest(name, "", nil, nil)
			req.ImageJson = ""
			req.Owner, req.Tags = &providerv1.ObjectIdentity{Uid: m.owner(name), Name: name}, m.tags()
			if _, err := w.cfg.Providers[0].Client.Create(t.Context(), req); err != nil {
				t.Fatal(err)
			}
		}
		if err := nas.AddVM("by_hand", 1, 512); err != nil {
			t.Fatal(err)
		}
		w.cfg.Orphans, w.cfg.OrphanGrace = RemoveOrphans, time.Nanosecond
		p, stop := w.start()
		w.request("one", class)
		w.completeAmongOthers(nas, "one")
		w.release("one")
		looker := &watcher{Provisioner: p, first: map[string]time.Time{}}
		for range 3 {
			looker.look(t.Context())
		}
		stop()
		if len(machines(nas)) != 3 {
			t.Errorf("the NAS has %v", machines(nas))
		}
	})
}

// completeAmongOthers checks a machine beside three other VMs.
func (w *world) completeAmongOthers(nas *sim.Sim, id string) {
	w.t.Helper()
	if vm := vmOf(w.t, nas, w.provisioned(id).GetUuid()); vm.State != "RUNNING" || len(machines(nas)) != 4 {
		w.t.Errorf("VM %s is %s, among %v", vm.Name, vm.State, machines(nas))
	}
}

// unreadable is an Omni that fails to list a type, or lists nothing, as one that is just starting might.
type unreadable struct {
	state.State
	broken string // the type that cannot be listed
}

func (u unreadable) List(ctx context.Context, kind resource.Kind, opts ...state.ListOption) (resource.List, error) {
	if kind.Type() == u.broken {
		return resource.List{}, errors.New("Omni is not ready")
	}
	return u.State.List(ctx, kind, opts...)
}

func TestNothingIsRemovedWhileOmniCannotBeRead(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	_, stop := w.start()
	w.request("one", class)
	w.provisioned("one")
	stop()
	w.forget("one", true)
	w.cfg.Orphans, w.cfg.OrphanGrace = RemoveOrphans, time.Nanosecond
	for _, broken := range []string{infrares.MachineRequestType, infrares.MachineRequestStatusType, machine.Extension{}.ResourceDefinition().Type, infrares.MachineRegistrationType} {
		w.cfg.State = unreadable{w.omni, broken}
		p, err := New(w.cfg)
		if err != nil {
			t.Fatal(err)
		}
		looker := &watcher{Provisioner: p, first: map[string]time.Time{}}
		for range 3 {
			looker.look(t.Context())
		}
		if len(machines(nas)) != 1 {
			t.Fatalf("with %s unreadable the NAS has %v", broken, machines(nas))
		}
		if got := p.Health(t.Context()); got == nil || !strings.Contains(got.Error(), "failed: Omni is not ready") {
			t.Errorf("the health text is %v", got)
		}
	}
}

func TestUnjoinedMachineIsReported(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.JoinTimeout = 200 * time.Millisecond
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	w.health("one: VM runs on nas and has not joined Omni")
	w.failed("one", "has not joined Omni")
	w.join("one")
	w.health("")
	until(t, "the status is clean", func() bool { return w.status("one").TypedSpec().Value.GetError() == "" })
	stop()
}

func (w *world) join(id string) {
	w.t.Helper()
	registration := infrares.NewMachineRegistration(w.note(id).TypedSpec().Value.GetUuid())
	registration.Metadata().Labels().Set(omnires.LabelMachineRequest, id)
	if err := w.omni.Create(w.t.Context(), registration); err != nil {
		w.t.Fatal(err)
	}
}

func TestWaitingForAMachineToJoin(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.WaitForJoin = true
	_, stop := w.start()
	w.request("one", class)
	until(t, "it waits for the machine to join", func() bool {
		return strings.Contains(w.status("one").TypedSpec().Value.GetStatus(), "wait for it to join")
	})
	w.join("one")
	w.provisioned("one")
	stop()
}

func TestUnresponsiveGuestIsPoweredOff(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.StopTimeout = 200 * time.Millisecond
	nas.SetGuest("", sim.Guest{IgnoresPowerButton: true})
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	w.checkRelease(nas, "one")
	stop()
}
