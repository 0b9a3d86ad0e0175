package server_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// TestPowerOnWithoutAVolume: the VM exists, so the error is not NotFound, and it names the missing volume.
func TestPowerOnWithoutAVolume(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel() // The provider waits for the volume's node.
			client, nas := onRelease(t, release)
			for _, err := range []error{nas.AddDataset("tank/mine", nil), nas.AddVolume("tank/mine/disk", 1<<20, nil), nas.AddVM("byhand", 1, 512, "tank/mine/disk")} {
				if err != nil {
					t.Fatal(err)
				}
			}
			vms, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{})
			if err != nil || len(vms.GetVms()) != 1 {
				t.Fatalf("ListVMs: %v, %v", vms, err)
			}
			if err := nas.RemoveDataset("tank/mine/disk"); err != nil {
				t.Fatal(err)
			}
			_, err = client.Power(t.Context(), &providerv1.PowerRequest{Id: vms.GetVms()[0].GetId(), Op: providerv1.PowerOp_POWER_OP_ON})
			if status.Code(err) != codes.FailedPrecondition || !strings.Contains(status.Convert(err).Message(), "/dev/zvol/tank/mine/disk") {
				t.Errorf("Power on without the volume: %v", err)
			}
		})
	}
}

// TestGracefulShutdownKeepsTheTimeout: the time that TrueNAS waits for a guest is a setting of the VM, and the caller's timeout
// does not change it.
func TestGracefulShutdownKeepsTheTimeout(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10")
	addImage(t, nas)
	id := newVM(t, client, "web-1")
	if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
		t.Fatal(err)
	}
	before := nas.VMs()[0].Config["shutdown_timeout"]
	if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, GracefulTimeoutSeconds: 17}); err != nil {
		t.Fatal(err)
	}
	if after := nas.VMs()[0].Config["shutdown_timeout"]; after != before {
		t.Errorf("the shutdown timeout was %v and is %v", before, after)
	}
}

// TestOffWaitsForOn: an Off that waits for an On of the same VM turns off what that has turned on, the start with the NAS included.
func TestOffWaitsForOn(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			for _, op := range []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_ON, providerv1.PowerOp_POWER_OP_OFF} { // A VM that was off does not start with the NAS.
				if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: op}); err != nil {
					t.Fatal(err)
				}
			}
			off := make(chan error, 1)
			nas.Inject(sim.Fault{Method: "vm.start", Then: sim.AnswerLate, Delay: 300 * time.Millisecond})
			on(nas, "vm.start", func() {
				go func() {
					_, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_OFF})
					off <- err
				}()
			})
			if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
				t.Fatal(err)
			}
			if err := <-off; err != nil {
				t.Fatal(err)
			}
			if vm := nas.VMs()[0]; vm.State != "STOPPED" || vm.Config["autostart"] != false {
				t.Errorf("the VM is %s, and starts with the NAS: %v", vm.State, vm.Config["autostart"])
			}
		})
	}
}

// TestStateAfterATask: a VM has its new state as soon as its task is done, also if the event of the state is late.
func TestStateAfterATask(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
				t.Fatal(err)
			}
			if vm := describe(t, client, id); vm.GetPowerState() != "On" {
				t.Fatalf("the VM is %s", vm.GetPowerState())
			}
			defer nas.HoldEvents("vm.query")()
			resp, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL})
			if err != nil {
				t.Fatal(err)
			}
			if err := awaited(t.Context(), client, resp.GetTask()); err != nil {
				t.Fatal(err)
			}
			if vm := describe(t, client, id); vm.GetPowerState() != "Off" {
				t.Errorf("after the shutdown's task the VM is %s", vm.GetPowerState())
			}
		})
	}
}
