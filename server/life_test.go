package server_test

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// wanted returns a VM with all fields of the contract.
func wanted(name string) *providerv1.CreateRequest {
	return &providerv1.CreateRequest{
		Name:         name,
		UserData:     []byte("#cloud-config\nhostname: x\n"),
		ClassJson:    `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20}}`,
		NetworksJson: `[{"Name":"eth0","Bridge":"br0","Model":"virtio","StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1"}]`,
		DisksJson:    `[{"SizeGiB":5,"Type":"thin","Name":"data"}]`,
		Tags:         []string{"a", "b"},
	}
}

// addImage makes a prepared image by hand, as a user could.
func addImage(t testing.TB, s *sim.Sim) string {
	t.Helper()
	for _, step := range []func() error{
		func() error { return s.AddDataset("tank/templates", nil) },
		func() error { return s.AddVolume("tank/templates/gold", 10<<30, nil) },
		func() error { return s.AddSnapshot("tank/templates/gold@v1") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return "tank/templates/gold@v1"
}

func TestLifeOfAVM(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			image := addImage(t, nas)
			ctx := context.Background()
			before := nas.State()
			req := wanted("web-1")
			req.ImageJson = `{"Path":"` + image + `"}`

			created, err := client.Create(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			again, err := client.Create(ctx, req)
			if err != nil || again.GetId() != created.GetId() {
				t.Fatalf("Create again: %v, %v", again, err)
			}
			id := created.GetId()
			power := func(op providerv1.PowerOp, want string) {
				t.Helper()
				for range 2 {
					if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: op}); err != nil {
						t.Fatalf("%v: %v", op, err)
					}
					d, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: id})
					if err != nil || !d.GetExists() || d.GetPowerState() != want {
						t.Fatalf("after %v: %v, %v", op, d, err)
					}
				}
			}
			power(providerv1.PowerOp_POWER_OP_ON, "On")
			power(providerv1.PowerOp_POWER_OP_OFF, "Off")
			power(providerv1.PowerOp_POWER_OP_ON, "On")

			list, err := client.ListVMs(ctx, &providerv1.ListVMsRequest{})
			if err != nil || len(list.GetVms()) != 1 {
				t.Fatalf("ListVMs: %v, %v", list, err)
			}
			vm := list.GetVms()[0]
			if vm.GetName() != "web-1" || vm.GetCpu() != 2 || vm.GetMemoryMib() != 2048 || len(vm.GetDisks()) != 2 || vm.GetDisks()[0].GetSizeGib() != 20 || len(vm.GetNetworks()) != 1 {
				t.Errorf("ListVMs: %v", vm)
			}
			for range 2 {
				if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id}); err != nil {
					t.Fatal(err)
				}
			}
			d, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: id})
			if err != nil || d.GetExists() {
				t.Errorf("Describe after Delete: %v, %v", d, err)
			}
			if after := nas.State(); !sameButTree(before, after) {
				t.Errorf("leftovers:\n%s", diff(t, before, after))
			}
		})
	}
}

// sameButTree compares two states, except for the empty folders of the provider's tree.
func sameButTree(before, after sim.State) bool {
	return reflect.DeepEqual(dropTree(before), dropTree(after))
}

// dropTree removes the folders that the provider makes once and keeps.
func dropTree(s sim.State) sim.State {
	s.Datasets = slices.DeleteFunc(slices.Clone(s.Datasets), func(d sim.DatasetState) bool {
		_, below, _ := strings.Cut(d.Name, "/") // On every pool.
		return slices.Contains([]string{"virtrigaud", "virtrigaud/vms", "virtrigaud/images", "virtrigaud/staging"}, below)
	})
	return s
}

func diff(t *testing.T, a, b any) string {
	t.Helper()
	x, _ := json.MarshalIndent(a, "", " ")
	y, _ := json.MarshalIndent(b, "", " ")
	return "before " + string(x) + "\nafter " + string(y)
}
