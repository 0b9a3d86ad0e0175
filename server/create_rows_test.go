package server_test

import (
	"fmt"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestCreateReadsNothingOfOtherVMs: the NAS sends the same data during a Create with 3 and with 24 other VMs, also when the request
// names a MAC address or a volume that another VM might have.
func TestCreateReadsNothingOfOtherVMs(t *testing.T) {
	t.Parallel()
	for name, image := range map[string]string{"a MAC address and a snapshot": "tank/templates/gold@v1", "a MAC address and a volume": "tank/templates/spare"} {
		for _, release := range releases {
			t.Run(name+"/"+release, func(t *testing.T) {
				t.Parallel()
				sizes := map[int]int{}
				for _, others := range []int{3, 24} {
					var count said
					api, nas := truenastest.New(t, func(c *sim.Config) { c.Release, c.Transcript = release, &count })
					client, _ := serve(t, api)
					addImage(t, nas)
					must(t, nas.AddVolume("tank/templates/spare", 1<<30, nil))
					for i := range others {
						_, err := client.Create(t.Context(), unnamed(fmt.Sprintf("vm-%02d", i)))
						must(t, err)
					}
					req := wanted("web-9")
					req.ImageJson = fmt.Sprintf(`{"Path":%q}`, image)
					req.NetworksJson = `[{"Bridge":"br0","MacAddress":"02:00:00:00:0a:0b"}]`
					count.take()
					_, err := client.Create(t.Context(), req)
					must(t, err)
					sizes[others] = count.take()
				}
				if few, many := sizes[3], sizes[24]; many > few+few/4 {
					t.Errorf("the calls of a Create have %d bytes beside 3 other VMs and %d beside 24", few, many)
				}
			})
		}
	}
}

// TestBootOrderWithDevicesOfUsers covers rule 24: TrueNAS moves a device whose order another one takes to the first free number,
// which may be after others. The root disk is the first device again after the next change, and devices of the user stay.
func TestBootOrderWithDevicesOfUsers(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			api, nas := truenastest.New(t, truenastest.Release(release))
			client, _ := serve(t, api)
			addImage(t, nas)
			must(t, nas.AddVolume("tank/templates/extra", 1<<30, nil))
			must(t, createWeb1(t.Context(), client))
			first := nas.VMs()[0].Devices[0]
			vm, err := api.VMs.ByName(t.Context(), "web_1")
			must(t, err)
			_, err = api.Devices.Create(t.Context(), truenas.DeviceCreate{VM: vm.ID, Order: first.Order, Attributes: truenas.Disk("/dev/zvol/tank/templates/extra")})
			must(t, err)
			if moved := nas.VMs()[0].Devices; moved[0].Attributes["path"] != "/dev/zvol/tank/templates/extra" {
				t.Fatalf("the user's disk did not take the place: %v", moved)
			}
			_, err = client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: vm.UUID, DesiredJson: desired(3, 2048, 20, `[{"SizeGiB":5,"Name":"data"}]`)})
			must(t, err)
			after := nas.VMs()[0].Devices
			if after[0].Attributes["path"] != first.Attributes["path"] {
				t.Errorf("the VM does not boot from its root disk: %v", after)
			}
			orders, extra := map[int]int{}, 0
			for _, d := range after {
				orders[d.Order]++
				if d.Attributes["path"] == "/dev/zvol/tank/templates/extra" {
					extra = d.Order
				}
			}
			if extra != first.Order || orders[first.Order] != 1 {
				t.Errorf("the user's disk was moved, or shares its place: %v", after)
			}
		})
	}
}

// TestStartNeedsTheRootDiskFirst: the NAS refuses to move the root disk before a user's disk. The VM is not started then, because
// its firmware would boot the other disk.
func TestStartNeedsTheRootDiskFirst(t *testing.T) {
	api, nas := truenastest.New(t)
	client, _ := serve(t, api)
	addImage(t, nas)
	must(t, nas.AddVolume("tank/templates/extra", 1<<30, nil))
	must(t, createWeb1(t.Context(), client))
	vm, err := api.VMs.ByName(t.Context(), "web_1")
	must(t, err)
	_, err = api.Devices.Create(t.Context(), truenas.DeviceCreate{VM: vm.ID, Order: nas.VMs()[0].Devices[0].Order, Attributes: truenas.Disk("/dev/zvol/tank/templates/extra")})
	must(t, err)
	on := func() error {
		_, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: vm.UUID, Op: providerv1.PowerOp_POWER_OP_ON})
		return err
	}
	nas.Inject(sim.Fault{Method: "vm.device.update", Then: sim.Refuse})
	if err := on(); err == nil || nas.VMs()[0].State != "STOPPED" {
		t.Errorf("Power: %v; the VM is %s", err, nas.VMs()[0].State)
	}
	must(t, on())
	if first := nas.VMs()[0].Devices[0].Attributes["path"]; first == "/dev/zvol/tank/templates/extra" || nas.VMs()[0].State != "RUNNING" {
		t.Errorf("the VM is %s and boots %v", nas.VMs()[0].State, first)
	}
}
