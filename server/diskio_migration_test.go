package server_test

import (
	"fmt"
	"slices"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// A migration with the manager's calls, from one NAS to another.
func TestMigration(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, format := range []string{"qcow2", "vmdk"} {
			t.Run(release+" by "+format, func(t *testing.T) {
				depot := newDepot(t)
				disk := scattered(32 << 20)
				source, here := onRelease(t, release, depot.reach)
				target, there := onRelease(t, release, depot.reach)
				id := exporter(t, source, here, disk)
				snap, err := source.SnapshotCreate(background, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "migration"})
				if err != nil {
					t.Fatal(err)
				}
				out := depot.exportOf(id, "s3", "export."+format, format)
				out.SnapshotId = snap.GetSnapshotId()
				exported, err := source.ExportDisk(background, out)
				if err != nil {
					t.Fatal(err)
				}
				in := depot.importOf("s3", "export."+format, format, "web-1", nil)
				in.ExpectedChecksum = exported.GetChecksum()
				imported, err := target.ImportDisk(background, in)
				if err != nil || imported.GetChecksum() != exported.GetChecksum() {
					t.Fatalf("got %v, %v", imported, err)
				}
				created, err := target.Create(background, &providerv1.CreateRequest{
					Name: "web-1", ClassJson: `{"CPU":1,"MemoryMiB":512,"Firmware":"BIOS"}`,
					ImageJson: fmt.Sprintf(`{"TemplateName":"","Path":%q,"URL":"","Format":"qcow2","Checksum":"","ChecksumType":""}`, imported.GetPath()),
				})
				if err != nil || created.GetTask() != nil {
					t.Fatalf("got %v, %v", created, err)
				}
				if _, err := target.Power(background, &providerv1.PowerRequest{Id: created.GetId(), Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
					t.Fatal(err)
				}
				info, err := target.GetDiskInfo(background, &providerv1.GetDiskInfoRequest{VmId: created.GetId()})
				if err != nil || info.GetPath() != imported.GetPath() || info.GetVirtualSizeBytes() != 1<<30 {
					t.Errorf("the VM's disk is %v, %v", info, err)
				}
				holds(t, there, imported.GetPath(), disk)
				if _, err := source.SnapshotDelete(background, &providerv1.SnapshotDeleteRequest{VmId: id, SnapshotId: snap.GetSnapshotId()}); err != nil {
					t.Error(err)
				}
				if _, err := source.Delete(background, &providerv1.DeleteRequest{Id: id}); err != nil {
					t.Error(err)
				}
				clean(t, here)
				clean(t, there)
			})
		}
	}
}

func TestMigrationIsAdvertisedWhereItWorks(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	for _, release := range releases {
		for _, tt := range []struct {
			name     string
			roles    []string
			mounted  bool
			offered  bool
			backends []string
		}{
			{"all", []string{"FULL_ADMIN"}, true, true, []string{"s3", "pvc", "nfs"}},
			{"no NFS export is mounted", []string{"FULL_ADMIN"}, false, true, []string{"s3", "pvc"}},
			{"a key that may not move files", []string{"VM_WRITE", "VM_READ", "DATASET_WRITE", "DATASET_READ", "DATASET_DELETE", "SNAPSHOT_WRITE", "SNAPSHOT_READ", "SNAPSHOT_DELETE", "VM_DEVICE_WRITE", "VM_DEVICE_READ"}, true, false, nil},
		} {
			t.Run(release+" "+tt.name, func(t *testing.T) {
				nas, _ := truenastest.New(t, truenastest.Release(release), func(c *sim.Config) {
					c.Keys = []sim.Key{{Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Roles: tt.roles}}
				})
				here := *depot
				if !tt.mounted {
					here.mounts = "/dev/null"
				}
				client, _ := serve(t, nas, here.reach)
				if _, err := client.Validate(background, &providerv1.ValidateRequest{}); err != nil {
					t.Fatal(err)
				}
				got, err := client.GetCapabilities(background, &providerv1.GetCapabilitiesRequest{})
				if err != nil || got.GetSupportsDiskImport() != tt.offered || got.GetSupportsDiskExport() != tt.offered || got.GetSupportsImageImport() != tt.offered ||
					got.GetSupportsExportCompression() != tt.offered || !slices.Equal(got.GetSupportedImportBackends(), tt.backends) || !slices.Equal(got.GetSupportedExportBackends(), tt.backends) {
					t.Errorf("got %v, %v", got, err)
				}
				_, err = client.ImportDisk(background, here.importOf("nfs", "nothing", "raw", "web-1", nil))
				switch {
				case !tt.offered:
					refusedWith(t, err, "PermissionDenied", "FULL_ADMIN")
				case tt.mounted:
					refusedWith(t, err, "FailedPrecondition", "no such file")
				default:
					refusedWith(t, err, "FailedPrecondition", "mounted")
				}
			})
		}
	}
}
