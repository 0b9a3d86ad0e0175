package server_test

import (
	"bytes"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
)

// TestDoctorKeepsAnImportedDisk: a VM has lost its record. Its own dataset holds an unwritten disk only, and the imported root disk
// holds all data. A revert below newer snapshots of others has made the imported disk again in some cases.
func TestDoctorKeepsAnImportedDisk(t *testing.T) {
	const volume = "tank/virtrigaud/imports/moved/disk"
	for _, release := range releases {
		for name, reverts := range map[string]int{"as imported": 0, "reverted": 2} {
			t.Run(release+"/"+name, func(t *testing.T) {
				w := newDoctorTest(t, release)
				vms, err := w.api.VMs.List(t.Context(), truenas.Where("name", "web_3"))
				w.must(err)
				write(t, w.nas, volume, string(bytes.Repeat([]byte("data"), 1<<20)))
				_, err = w.client.SnapshotCreate(t.Context(), &providerv1.SnapshotCreateRequest{VmId: vms[0].UUID, NameHint: "s1"})
				w.must(err)
				for range reverts {
					w.must(w.nas.AddSnapshot(volume + "@auto-2026-11-28_01-00"))
					_, err = w.client.SnapshotRevert(t.Context(), &providerv1.SnapshotRevertRequest{VmId: vms[0].UUID, SnapshotId: "s1"})
					w.must(err)
				}
				w.must(w.api.VMs.Delete(t.Context(), vms[0].ID, truenas.DeleteOptions{}))
				_, err = w.provider.RemoveLeftovers(t.Context(), 0)
				w.must(err)
				if got := read(t, w.nas, volume, 4); got != "data" {
					t.Fatalf("the disk holds %q", got)
				}
				for _, d := range w.nas.State().Datasets {
					if d.Name == volume && d.User["virtrigaud:state"] != "ready" {
						t.Errorf("the disk has the properties %v", d.User)
					}
				}
				req := wanted("web-3")
				req.ClassJson, req.ImageJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"}`, `{"Path":"`+volume+`"}`
				_, err = w.client.Create(t.Context(), req)
				w.must(err)
			})
		}
	}
}
