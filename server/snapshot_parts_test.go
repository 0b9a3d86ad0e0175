package server_test

import (
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
)

// TestInterruptedSnapshotOfTwoDatasets: an imported root disk and an additional disk lie in two datasets, and only one of them got
// its snapshot. The VM ran before the request was repeated.
func TestInterruptedSnapshotOfTwoDatasets(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			depot := newDepot(t)
			r := newRefusing(t, release, depot.reach, func(c *server.Config) { c.AdoptedVMs = server.Protect })
			content := sample(t, "v3.qcow2")
			depot.put(t, "s3", "disk.qcow2", content)
			imported, err := r.client.ImportDisk(t.Context(), depot.importOf("s3", "disk.qcow2", "qcow2", "moved", content))
			must(t, err)
			req := ofImport(imported.GetPath())
			req.DisksJson = sameDisks
			vm, err := r.client.Create(t.Context(), req)
			must(t, err)
			both := func(text string) {
				write(t, r.nas, imported.GetPath(), text)
				write(t, r.nas, "tank/virtrigaud/vms/moved/data", text)
			}
			take := func(token string) error {
				_, err := r.client.SnapshotCreate(t.Context(), &providerv1.SnapshotCreateRequest{VmId: vm.GetId(), NameHint: "s1", RequestToken: token})
				return err
			}
			both("before")
			method := "pool.snapshot.create"
			if release == "25.04.2" {
				method = "zfs.snapshot.create"
			}
			r.nas.Inject(sim.Fault{Method: method, Nth: 2, Then: sim.Refuse})
			refusedWith(t, take("a"), "FailedPrecondition", method)
			refusedWith(t, take("b"), "AlreadyExists", "s1")
			both("second")
			must(t, take("a"))
			both("others")
			must(t, take("a")) // It is complete and stays.
			refusedWith(t, take("b"), "AlreadyExists", "s1")
			_, err = r.client.SnapshotRevert(t.Context(), &providerv1.SnapshotRevertRequest{VmId: vm.GetId(), SnapshotId: "s1"})
			must(t, err)
			for _, volume := range []string{imported.GetPath(), "tank/virtrigaud/vms/moved/data"} {
				if got := read(t, r.nas, volume, 6); got != "second" {
					t.Errorf("%s holds %q, want the state of the complete snapshot", volume, got)
				}
			}
			_, err = r.client.SnapshotDelete(t.Context(), &providerv1.SnapshotDeleteRequest{VmId: vm.GetId(), SnapshotId: "s1"})
			must(t, err)
			for _, s := range r.nas.State().Snapshots {
				if strings.HasSuffix(s.ID, "@s1") {
					t.Errorf("%s is left", s.ID)
				}
			}
		})
	}
}
