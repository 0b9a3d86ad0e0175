package server_test

import (
	"context"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// TestStoppedWhileLibvirtIsUnreachable covers rule 19: while libvirt is unreachable TrueNAS reports a running guest as stopped, and the
// provider refuses operations that the guest would not survive.
func TestStoppedWhileLibvirtIsUnreachable(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		for _, tt := range []struct {
			name string
			run  request
		}{
			{"Revert", revertWeb1},
			{"Delete", deleteVM(idOfWeb1)},
			{"Power off", powerOnly(providerv1.PowerOp_POWER_OP_OFF)},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				client, nas := onRelease(t, release)
				withSnapshot(t, client, nas)
				if err := powerOnly(providerv1.PowerOp_POWER_OP_ON)(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				before := nas.State()
				nas.SetLibvirt(true)
				code, text := "Unavailable", "has its disks open"
				if release[:2] == "25" && tt.name == "Revert" {
					code, text = "FailedPrecondition", "is ERROR"
				}
				if release[:2] == "25" && tt.name == "Power off" {
					text = "libvirt"
				}
				refusedWith(t, tt.run(t.Context(), client), code, text)
				// The VM must not start with the NAS, which is recorded before the power-off.
				if after := nas.State(); tt.name != "Power off" && !sameButTree(before, after) {
					t.Errorf("the NAS changed:\n%s", changes(t, before, after))
				}
				nas.SetLibvirt(false)
				if err := powerOnly(providerv1.PowerOp_POWER_OP_OFF)(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				if err := tt.run(t.Context(), client); err != nil {
					t.Errorf("after the return of libvirt: %v", err)
				}
			})
		}
	}
}

// TestRepairOfReportedOff: Create does not complete a VM that may run.
func TestRepairOfReportedOff(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"26", "27"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			withWeb1Running(t, client, nas)
			nas.SetLibvirt(true)
			req := web1()
			req.DisksJson = `[{"SizeGiB":5,"Type":"thin","Name":"data"},{"SizeGiB":5,"Type":"thin","Name":"more"}]`
			before := nas.State()
			_, err := client.Create(t.Context(), req)
			refusedWith(t, err, "Unavailable", "has its disks open")
			if after := nas.State(); !sameButTree(before, after) {
				t.Errorf("the NAS changed:\n%s", changes(t, before, after))
			}
		})
	}
}

// TestSeenRunning: a VM that was seen running is not reported as off while its guest may run, even if it does not start with the NAS.
func TestSeenRunning(t *testing.T) {
	for _, release := range []string{"26", "27"} {
		client, nas := onRelease(t, release)
		must(t, nas.AddVolume("tank/by-hand", 1<<30, nil))
		must(t, nas.AddVM("by_hand", 1, 512, "tank/by-hand"))
		must(t, nas.StartVM("by_hand"))
		list, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{})
		must(t, err)
		id := list.GetVms()[0].GetId()
		state := func() (string, error) {
			resp, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: id})
			return resp.GetPowerState(), err
		}
		if got, err := state(); got != "On" {
			t.Errorf("%s: %s, %v", release, got, err)
		}
		nas.SetLibvirt(true)
		_, err = client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL})
		refusedWith(t, err, "Unavailable", "has its disks open")
		_, err = state() // of the record that the shutdown has read
		refusedWith(t, err, "Unavailable", "has its disks open")
		nas.SetLibvirt(false)
		_, err = client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL})
		must(t, err)
	}
}

// TestOffWithoutADomain: a VM without a domain in libvirt and without open disks is off.
func TestOffWithoutADomain(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"26", "27"} {
		client, nas := onRelease(t, release)
		withSnapshot(t, client, nas)
		if err := revertWeb1(t.Context(), client); err != nil {
			t.Errorf("%s: %v", release, err)
		}
		if got := read(t, nas, "tank/virtrigaud/vms/web_1/root", 5); got == "after" {
			t.Errorf("%s: the disk was not reverted", release)
		}
	}
}

// powerOnly requests a power state only.
func powerOnly(op providerv1.PowerOp) request {
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Power(ctx, &providerv1.PowerRequest{Id: idOfWeb1, Op: op})
		return err
	}
}
