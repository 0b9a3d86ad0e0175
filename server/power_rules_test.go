package server_test

import (
	"sync"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// powerTo requests a power state, which must succeed and be visible on the NAS.
func powerTo(t testing.TB, client providerv1.ProviderClient, nas *sim.Sim, id string, op providerv1.PowerOp, want string) {
	t.Helper()
	if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: op}); err != nil {
		t.Fatalf("%v: %v", op, err)
	}
	if got := nas.VMs()[0].State; got != want {
		t.Errorf("after %v the VM is %s, want %s", op, got, want)
	}
}

// onceAfter calls do once, at the first call of a method after another.
func onceAfter(nas *sim.Sim, after, method string, do func()) {
	var once sync.Once
	var seen bool
	nas.OnCall(func(_ int, called string) {
		seen = seen || after == "" || called == after
		if seen && called == method {
			once.Do(do)
		}
	})
}

// TestPowerOnOutlastsAMissingNode covers rule 22: the device node of a new volume may appear after the first start.
func TestPowerOnOutlastsAMissingNode(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			reason := "[EFAULT] VM will not start as DISK Device: /dev/zvol/tank/x device(s) are not available."
			if release == "26" || release == "27" {
				reason = "[EFAULT] Cannot start domain 'web_1':\ndevice./dev/zvol/tank/x: Device /dev/zvol/tank/x is not available"
			}
			nas.Inject(sim.Fault{Method: "vm.start", Then: sim.Refuse, Err: &sim.CallError{Errno: 14, Reason: reason}})
			powerTo(t, client, nas, id, providerv1.PowerOp_POWER_OP_ON, "RUNNING")
		})
	}
}

// TestPowerOnFailsAfterTheStart covers rule 23: TrueNAS may report a start as failed although the VM runs, and a suspended VM as
// running.
func TestPowerOnFailsAfterTheStart(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			nas.Inject(sim.Fault{Method: "vm.start", Then: sim.RefuseAfter})
			powerTo(t, client, nas, id, providerv1.PowerOp_POWER_OP_ON, "RUNNING")
			powerTo(t, client, nas, id, providerv1.PowerOp_POWER_OP_OFF, "STOPPED")

			nas.Inject(sim.Fault{Method: "vm.start", Then: sim.RefuseAfter, Err: &sim.CallError{Errno: 14, Reason: "[EFAULT] 'web_1' is already running"}})
			onceAfter(nas, "vm.start", "vm.query", func() { nas.SuspendGuest("web_1") })
			powerTo(t, client, nas, id, providerv1.PowerOp_POWER_OP_ON, "RUNNING")
		})
	}
}

// TestPowerOnFails: a start that fails and leaves the VM off is a failure.
func TestPowerOnFails(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "26")
	addImage(t, nas)
	id := newVM(t, client, "web-1")
	nas.Inject(sim.Fault{Method: "vm.start", Then: sim.Refuse})
	_, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON})
	refusedWith(t, err, "FailedPrecondition", "Simulated fault")
}

// TestPowerOffOfAVMThatShutDownMeanwhile covers rule 22: the guest may shut down before the power is cut.
func TestPowerOffOfAVMThatShutDownMeanwhile(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			powerTo(t, client, nas, id, providerv1.PowerOp_POWER_OP_ON, "RUNNING")
			onceAfter(nas, "", "vm.poweroff", func() { nas.PowerOffGuest("web_1") })
			powerTo(t, client, nas, id, providerv1.PowerOp_POWER_OP_OFF, "STOPPED")
		})
	}
}
