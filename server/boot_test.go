package server_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// disksInOrder returns a VM's volumes in boot order.
func disksInOrder(nas *sim.Sim) []string {
	var disks []string
	for _, vm := range nas.VMs() {
		for _, d := range vm.Devices {
			if d.Attributes["dtype"] == "DISK" {
				disks = append(disks, strings.TrimPrefix(fmt.Sprint(d.Attributes["path"]), "/dev/zvol/tank/virtrigaud/vms/"))
			}
		}
	}
	return disks
}

// madeAndSeen makes a VM and reads it through the NAS's API.
func madeAndSeen(t *testing.T, release string, req *providerv1.CreateRequest) (*sim.Sim, providerv1.ProviderClient, *truenas.Client, truenas.VM) {
	t.Helper()
	nas, address := truenastest.Serve(t, truenastest.Release(release))
	client := withKey(t, address, func(*truenas.Config) {})
	created, err := client.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	api, err := truenas.New(truenastest.Config(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	vms, err := api.VMs.ByUUID(t.Context(), created.GetId())
	if err != nil || len(vms) != 1 {
		t.Fatalf("%d VMs, %v", len(vms), err)
	}
	return nas, client, api, vms[0]
}

// TestTheRootDiskComesFirst checks the boot order after the NAS has renumbered devices, and with devices before the root disk.
func TestTheRootDiskComesFirst(t *testing.T) {
	t.Parallel()
	const disks = `[{"SizeGiB":5,"Type":"thin","Name":"data"},{"SizeGiB":6,"Type":"thin","Name":"more"}]`
	for _, release := range releases {
		for _, tt := range []struct {
			name string
			harm func(t *testing.T, api *truenas.Client, vm truenas.VM) error
			act  func(t *testing.T, client providerv1.ProviderClient, id string) error
		}{
			{"a disk is added after a NIC was made twice", func(t *testing.T, api *truenas.Client, vm truenas.VM) error {
				for _, d := range vm.Devices {
					if d.Attributes.DType == truenas.DeviceNIC {
						_, err := api.Devices.Create(t.Context(), truenas.DeviceCreate{VM: vm.ID, Order: d.Order, Attributes: truenas.NIC("br0", "02:00:00:00:00:99", "VIRTIO")})
						return errors.Join(err, deleteNIC(t, api, vm.ID, "02:00:00:00:00:99"))
					}
				}
				return nil
			}, func(t *testing.T, client providerv1.ProviderClient, id string) error {
				req := wanted("web-1")
				_, err := client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: id, DesiredJson: fmt.Sprintf(
					`{"Name":"web-1","Class":%s,"Networks":%s,"Disks":%s}`, req.GetClassJson(), req.GetNetworksJson(), disks)})
				return err
			}},
			{"a VM is started that would boot from another disk", misplace, func(t *testing.T, client providerv1.ProviderClient, id string) error {
				_, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON})
				return err
			}},
			{"Create comes again", misplace, func(t *testing.T, client providerv1.ProviderClient, _ string) error {
				_, err := client.Create(t.Context(), wanted("web-1"))
				return err
			}},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				nas, client, api, vm := madeAndSeen(t, release, wanted("web-1"))
				if err := tt.harm(t, api, vm); err != nil {
					t.Fatal(err)
				}
				soon(t, "the provider has seen the change and acts", func() bool { return tt.act(t, client, vm.UUID) == nil })
				if got := disksInOrder(nas); len(got) < 2 || got[0] != "web_1/root" {
					t.Errorf("the disks are %v", got)
				}
			})
		}
	}
}

// misplace moves all other disks before the root disk.
func misplace(t *testing.T, api *truenas.Client, vm truenas.VM) error {
	for i, d := range vm.Devices {
		if d.Attributes.DType == truenas.DeviceDisk && !strings.HasSuffix(d.Attributes.Path, "/root") {
			order := 500 + i
			if _, err := api.Devices.Update(t.Context(), d.ID, truenas.DeviceUpdate{Order: &order}); err != nil {
				return err
			}
		}
	}
	return nil
}

func deleteNIC(t *testing.T, api *truenas.Client, vm int64, mac string) error {
	devices, err := api.Devices.List(t.Context(), truenas.Where("vm", vm))
	for _, d := range devices {
		if d.Attributes.MAC == mac {
			err = api.Devices.Delete(t.Context(), d.ID, truenas.DeviceDelete{})
		}
	}
	return err
}

// TestDisksHaveTheSequenceOfTheRequest checks the order of disks, also when the first of them was made last.
func TestDisksHaveTheSequenceOfTheRequest(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			req := wanted("web-1")
			req.DisksJson = `[{"SizeGiB":5,"Name":"data"},{"SizeGiB":6,"Name":"more"}]`
			nas, client, api, vm := madeAndSeen(t, release, req)
			for _, d := range vm.Devices {
				if strings.HasSuffix(d.Attributes.Path, "/data") {
					last := 2000
					if _, err := api.Devices.Update(t.Context(), d.ID, truenas.DeviceUpdate{Order: &last}); err != nil {
						t.Fatal(err)
					}
				}
			}
			want := []string{"web_1/root", "web_1/data", "web_1/more"}
			soon(t, "the provider has seen the change and acts", func() bool {
				_, err := client.Create(t.Context(), req)
				return err == nil && slices.Equal(disksInOrder(nas), want)
			})
		})
	}
}
