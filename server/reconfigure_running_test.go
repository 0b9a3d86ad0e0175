package server_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// resizing is a running VM, and a manager of either line that resizes it.
type resizing struct {
	t      *testing.T
	api    *truenas.Client
	nas    *sim.Sim
	client providerv1.ProviderClient
	id     string
}

func newResizing(t *testing.T, release string) *resizing {
	t.Helper()
	api, nas := truenastest.New(t, truenastest.Release(release))
	client, _ := serve(t, api)
	addImage(t, nas)
	r := &resizing{t: t, api: api, nas: nas, client: client, id: newVM(t, client, "web-1")}
	r.power(providerv1.PowerOp_POWER_OP_ON)
	return r
}

func (r *resizing) power(op providerv1.PowerOp) {
	r.t.Helper()
	resp, err := r.client.Power(r.t.Context(), &providerv1.PowerRequest{Id: r.id, Op: op})
	if err != nil {
		r.t.Fatal(err)
	}
	finish(r.t, r.client, resp.GetTask())
}

// ask sends the request of a manager of line 0.3.
func (r *resizing) ask(desired string) (*providerv1.TaskResponse, error) {
	return r.client.Reconfigure(r.t.Context(), &providerv1.ReconfigureRequest{Id: r.id, DesiredJson: desired})
}

// answers sends the request of a manager of line 0.4, and checks the response.
func (r *resizing) answers(what, desired string, restart bool) {
	r.t.Helper()
	resp, err := r.ask(fromLine04(desired, owner04))
	if err != nil || !resp.GetHonestResult() || resp.GetRestartRequired() != restart || resp.GetTask() != nil {
		r.t.Errorf("%s: got %v, %v; want an honest answer with restart_required=%t", what, resp, err, restart)
	}
}

func (r *resizing) cores() string { return fmt.Sprint(r.nas.VMs()[0].Config["cores"]) }

// A change of a running VM takes effect at its next start, and counts as applied only after the VM was powered off and on. A
// manager of line 0.3 does not read that, and is refused.
func TestHonestReconfigure(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			r := newResizing(t, release)
			same, larger := desired(2, 2048, 20, sameDisks), desired(4, 4096, 20, sameDisks)
			r.answers("nothing to change", same, false)

			before := r.nas.State()
			_, err := r.ask(larger)
			refusedWith(t, err, "FailedPrecondition", "only while VM")
			if !reflect.DeepEqual(before, r.nas.State()) {
				t.Error("the refused call of line 0.3 changed the NAS")
			}

			r.answers("a change while it runs", larger, true)
			if got := r.cores(); got != "4" {
				t.Errorf("the record has %s cores, want 4", got)
			}
			before = r.nas.State()
			r.answers("asked again", larger, true)
			other, _ := serve(t, r.api) // A restarted provider, or another replica.
			r.client = other
			r.answers("asked of another replica", larger, true)
			_, err = r.ask(larger)
			refusedWith(t, err, "FailedPrecondition", "only while VM")
			if !reflect.DeepEqual(before, r.nas.State()) {
				t.Error("a request without a change changed the NAS")
			}

			r.power(providerv1.PowerOp_POWER_OP_OFF)
			r.power(providerv1.PowerOp_POWER_OP_ON)
			r.answers("after off and on", larger, false)
			if _, err := r.ask(larger); err != nil {
				t.Errorf("line 0.3 after off and on: %v", err)
			}
		})
	}
}

// A restart by TrueNAS starts another process and applies a change.
func TestARestartAppliesAChange(t *testing.T) {
	t.Parallel()
	r := newResizing(t, "25.10")
	larger := desired(4, 2048, 20, sameDisks)
	r.answers("a change while it runs", larger, true)
	r.power(providerv1.PowerOp_POWER_OP_REBOOT)
	r.answers("after a restart", larger, false)
}

// The guest sees grown and new disks at its next start.
func TestHonestReconfigureOfDisks(t *testing.T) {
	t.Parallel()
	r := newResizing(t, "25.10")
	more := desired(2, 2048, 30, `[{"SizeGiB":5,"Type":"thin","Name":"data"},{"SizeGiB":7,"Type":"thin","Name":"more"}]`)
	r.answers("disks while it runs", more, true)
	r.answers("asked again", more, true)
	sizes := map[string]int64{}
	for _, d := range r.nas.State().Datasets {
		sizes[d.Name] = d.Size >> 30
	}
	if sizes["tank/virtrigaud/vms/web_1/root"] != 30 || sizes["tank/virtrigaud/vms/web_1/more"] != 7 {
		t.Errorf("got the sizes %v in GiB", sizes)
	}
	r.power(providerv1.PowerOp_POWER_OP_OFF)
	r.answers("while it is off", more, false)
	r.power(providerv1.PowerOp_POWER_OP_ON)
	r.answers("after off and on", more, false)
}

// A change that is reverted before a restart needs no restart.
func TestAChangeTakenBack(t *testing.T) {
	t.Parallel()
	r := newResizing(t, "25.10")
	same := desired(2, 2048, 20, sameDisks)
	r.answers("a change while it runs", desired(4, 2048, 20, sameDisks), true)
	r.answers("taken back", same, true) // The next response shows that nothing is pending.
	r.answers("asked again", same, false)
}

// After the death of a provider between the change and the end of the call, the change counts as pending.
func TestHonestReconfigureInterrupted(t *testing.T) {
	t.Parallel()
	r := newResizing(t, "25.10")
	larger := desired(4, 2048, 20, sameDisks)
	r.nas.Inject(sim.Fault{Method: "vm.update", Then: sim.CutAfter})
	if _, err := r.ask(fromLine04(larger, owner04)); err == nil {
		t.Log("the call continued after its connection was cut")
	}
	r.answers("after the cut", larger, true)
	r.power(providerv1.PowerOp_POWER_OP_OFF)
	r.power(providerv1.PowerOp_POWER_OP_ON)
	r.answers("after off and on", larger, false)
}

// A suspended VM is changed later.
func TestSuspendedIsNotReconfigured(t *testing.T) {
	t.Parallel()
	r := newResizing(t, "25.10")
	r.nas.SuspendGuest("web_1")
	_, err := r.ask(fromLine04(desired(4, 2048, 20, sameDisks), owner04))
	if status.Code(err) != codes.Unavailable || !strings.Contains(fmt.Sprint(status.Convert(err).Details()), "VM_OPERATION_FAILED") {
		t.Errorf("got %v with %v", err, status.Convert(err).Details())
	}
}

// A suspended VM is On for a manager of line 0.3, which knows no other state for it, and Suspended after the first request of line
// 0.4.
func TestSuspendedIsDescribed(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			r := newResizing(t, release)
			r.nas.SuspendGuest("web_1")
			describe := func() *providerv1.DescribeResponse {
				t.Helper()
				if _, err := r.client.ListVMs(t.Context(), &providerv1.ListVMsRequest{}); err != nil {
					t.Fatal(err)
				}
				got, err := r.client.Describe(t.Context(), &providerv1.DescribeRequest{Id: r.id})
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			for end := time.Now().Add(10 * time.Second); !strings.Contains(describe().GetProviderRawJson(), "SUSPENDED"); { // The event is in transit.
				if time.Now().After(end) {
					t.Fatalf("still described as %v", describe())
				}
			}
			if got := describe(); got.GetPowerState() != "On" || got.GetVcpus() != 2 || got.GetMaxMemoryMib() != 2048 {
				t.Errorf("line 0.3: got %v", got)
			}
			r.answers("nothing to change", desired(2, 2048, 20, sameDisks), false)
			if got := describe(); got.GetPowerState() != "Suspended" {
				t.Errorf("line 0.4: got %v", got)
			}
		})
	}
}
