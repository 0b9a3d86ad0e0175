package server_test

import (
	"context"
	"fmt"
	"path"
	"reflect"
	"slices"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// desired returns the manager's request for the VM of wanted with other sizes.
func desired(cpus, memoryMiB, rootGiB int, disks string) string {
	return fmt.Sprintf(`{"Name":"web-1","Class":{"CPU":%d,"MemoryMiB":%d,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":%d}},`+
		`"Image":{"TemplateName":"","Path":"tank/templates/gold@v1"},"Networks":[{"Name":"eth0","Bridge":"br0"}],"Disks":%s,`+
		`"UserData":{"CloudInitData":"x","Type":"cloud-init"},"MetaData":null,"Placement":null,"Tags":null}`, cpus, memoryMiB, rootGiB, disks)
}

const sameDisks = `[{"SizeGiB":5,"Type":"thin","Name":"data"}]`

func TestReconfigure(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			ctx := context.Background()
			reconfigure := func(text string) error {
				_, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: id, DesiredJson: text})
				return err
			}
			before := nas.State()
			if err := reconfigure(desired(2, 2048, 20, sameDisks)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(before, nas.State()) {
				t.Error("an empty request changed the NAS")
			}
			for _, tt := range []struct{ name, desired, field string }{
				{"a smaller root disk", desired(2, 2048, 10, sameDisks), "SizeGiB"},
				{"a smaller disk", desired(2, 2048, 20, `[{"SizeGiB":4,"Name":"data"}]`), "Disks[data].SizeGiB"},
				{"a disk removed", desired(2, 2048, 20, "null"), "data"},
				{"a disk beyond the pool", desired(2, 2048, 20, `[{"SizeGiB":5,"Name":"data"},{"SizeGiB":900000,"Name":"big"}]`), "no space"},
				{"another firmware", `{"Class":{"CPU":2,"MemoryMiB":2048,"Firmware":"BIOS"},"Networks":[{"Bridge":"br0"}],"Disks":` + sameDisks + `}`, "Firmware"},
				{"another NIC", `{"Class":{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"},"Networks":null,"Disks":` + sameDisks + `}`, "Networks"},
			} {
				t.Run(tt.name, func(t *testing.T) {
					code := "FailedPrecondition"
					if tt.field == "no space" {
						code = "ResourceExhausted"
					}
					refusedWith(t, reconfigure(tt.desired), code, tt.field)
				})
			}
			if !reflect.DeepEqual(before, nas.State()) {
				t.Error("a refused call changed the NAS")
			}
			power := func(op providerv1.PowerOp) {
				t.Helper()
				if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: op}); err != nil {
					t.Fatal(err)
				}
			}
			more := desired(4, 4096, 30, `[{"SizeGiB":6,"Name":"data"},{"SizeGiB":7,"Name":"new"}]`)
			power(providerv1.PowerOp_POWER_OP_ON)
			refusedWith(t, reconfigure(more), "FailedPrecondition", "Power it off")
			power(providerv1.PowerOp_POWER_OP_OFF)
			for range 2 {
				if err := reconfigure(more); err != nil {
					t.Fatal(err)
				}
			}
			list, err := client.ListVMs(ctx, &providerv1.ListVMsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			vm := list.GetVms()[0]
			sizes := map[int32]bool{}
			for _, d := range vm.GetDisks() {
				sizes[d.GetSizeGib()] = true
			}
			if vm.GetCpu() != 4 || vm.GetMemoryMib() != 4096 || !reflect.DeepEqual(sizes, map[int32]bool{30: true, 6: true, 7: true}) {
				t.Errorf("after the change: %v", vm)
			}
		})
	}
}

// The guest sees additional disks in the order of the request, however many one Reconfigure adds.
func TestReconfigureAddsDisksInOrder(t *testing.T) {
	for _, release := range releases {
		client, nas := onRelease(t, release)
		addImage(t, nas)
		id := newVM(t, client, "web-1")
		const more = `[{"SizeGiB":5,"Name":"data"},{"SizeGiB":1,"Name":"zeta"},{"SizeGiB":1,"Name":"beta"},{"SizeGiB":1,"Name":"eta"}]`
		must(t, reconfigured(t, client, id, desired(2, 2048, 20, more)))
		var disks []string
		var last int
		for _, d := range nas.VMs()[0].Devices {
			if d.Attributes["dtype"] != "DISK" {
				continue
			}
			disks = append(disks, path.Base(fmt.Sprint(d.Attributes["path"])))
			if d.Order <= last {
				t.Errorf("%s: disk %s has order %d after %d", release, disks[len(disks)-1], d.Order, last)
			}
			last = d.Order
		}
		if want := []string{"root", "data", "zeta", "beta", "eta"}; !slices.Equal(disks, want) {
			t.Errorf("%s: the disks are %q, want %q", release, disks, want)
		}
	}
}

func TestGetDiskInfo(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10")
	addImage(t, nas)
	id := newVM(t, client, "web-1")
	ctx := context.Background()
	if _, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "s1"}); err != nil {
		t.Fatal(err)
	}
	info, err := client.GetDiskInfo(ctx, &providerv1.GetDiskInfoRequest{VmId: id})
	if err != nil || info.GetFormat() != "raw" || info.GetVirtualSizeBytes() != 20<<30 || !info.GetIsBootable() ||
		info.GetBackingFile() != "tank/templates/gold@v1" || !reflect.DeepEqual(info.GetSnapshots(), []string{"s1"}) {
		t.Errorf("root disk: %v, %v", info, err)
	}
	info, err = client.GetDiskInfo(ctx, &providerv1.GetDiskInfoRequest{VmId: id, DiskId: "data", SnapshotId: "s1"})
	if err != nil || info.GetVirtualSizeBytes() != 5<<30 || info.GetIsBootable() || info.GetPath() != "tank/virtrigaud/vms/web_1/data@s1" {
		t.Errorf("data disk: %v, %v", info, err)
	}
	_, err = client.GetDiskInfo(ctx, &providerv1.GetDiskInfoRequest{VmId: id, DiskId: "none"})
	refusedWith(t, err, "NotFound", "none")
}
