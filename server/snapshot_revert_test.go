package server_test

import (
	"reflect"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

const (
	tree1 = "tank/virtrigaud/vms/web_1"
	data1 = tree1 + "/data"
)

// periodic takes a snapshot of a VM's complete dataset by hand, as a periodic task of the pool does.
func periodic(t testing.TB, nas *sim.Sim, name string) {
	t.Helper()
	for _, d := range nas.State().Datasets {
		if d.Name == tree1 || strings.HasPrefix(d.Name, tree1+"/") {
			must(t, nas.AddSnapshot(d.Name+"@"+name))
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// withForeignSnapshots makes a snapshot of this provider, and newer ones of a periodic task.
func withForeignSnapshots(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	setting(withWeb1).after()(t, client, nas)
	write(t, nas, root1, "first")
	must(t, snapshotWeb1(t.Context(), client))
	write(t, nas, root1, "other")
	periodic(t, nas, "auto-2026-11-28_01-00")
	write(t, nas, root1, "third")
	periodic(t, nas, "auto-2026-11-28_02-00")
}

// snapshotsNamed counts the snapshots of a name on a VM's disk and on the volumes that were set aside for it.
func snapshotsNamed(nas *sim.Sim, volume, name string) int {
	n := 0
	for _, s := range nas.State().Snapshots {
		dataset, taken, _ := strings.Cut(s.ID, "@")
		if (dataset == volume || strings.HasPrefix(dataset, volume+"-aside-")) && taken == name {
			n++
		}
	}
	return n
}

func TestRevertUnderNewerSnapshotsOfOthers(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			withForeignSnapshots(t, client, nas)
			for range 2 {
				must(t, revertWeb1(t.Context(), client))
				if got := read(t, nas, root1, 5); got != "first" {
					t.Errorf("after the revert the disk holds %q", got)
				}
				for _, volume := range []string{root1, data1} {
					for _, name := range []string{"s1", "auto-2026-11-28_01-00", "auto-2026-11-28_02-00"} {
						if n := snapshotsNamed(nas, volume, name); n != 1 {
							t.Errorf("%d snapshots %s of %s", n, name, volume)
						}
					}
				}
				write(t, nas, root1, "again")
			}
			periodic(t, nas, "auto-2026-11-28_03-00")
			must(t, revertWeb1(t.Context(), client))
			if got := read(t, nas, root1, 5); got != "first" || snapshotsNamed(nas, root1, "auto-2026-11-28_03-00") == 0 {
				t.Errorf("after the third revert the disk holds %q", got)
			}
			for _, s := range nas.State().Snapshots {
				if strings.Contains(s.ID, "@vraside-") && !cloneOf(nas, s.ID) {
					t.Errorf("%s is left", s.ID)
				}
			}
			must(t, power(providerv1.PowerOp_POWER_OP_ON)(t.Context(), client))
			must(t, deleteVM(idOfWeb1)(t.Context(), client))
			if left := treeOf(nas, tree1); len(left) > 0 {
				t.Errorf("Delete leaves %v", left)
			}
		})
	}
}

func cloneOf(nas *sim.Sim, snapshot string) bool {
	for _, d := range nas.State().Datasets {
		if d.Origin == snapshot {
			return true
		}
	}
	return false
}

// treeOf lists the objects in a dataset.
func treeOf(nas *sim.Sim, tree string) []string {
	var found []string
	for _, d := range nas.State().Datasets {
		if d.Name == tree || strings.HasPrefix(d.Name, tree+"/") {
			found = append(found, d.Name)
		}
	}
	return found
}

// A revert keeps a thick disk thick.
func TestRevertKeepsTheReservation(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			req := wanted("web-1")
			req.UserData, req.ImageJson = nil, ""
			req.ClassJson = `{"CPU":1,"MemoryMiB":512,"DiskDefaults":{"SizeGiB":1,"Type":"thick"}}`
			_, err := client.Create(t.Context(), req)
			must(t, err)
			must(t, snapshotWeb1(t.Context(), client))
			periodic(t, nas, "auto-1")
			must(t, revertWeb1(t.Context(), client))
			for _, d := range nas.State().Datasets {
				if d.Name == root1 && d.RefReservation == 0 {
					t.Errorf("the disk is thin: %+v", d)
				}
			}
		})
	}
}

// While a revert is interrupted after the destruction of the disk, Create does not make a new disk.
func TestCreateDoesNotReplaceADiskThatIsBeingReverted(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			withForeignSnapshots(t, client, nas)
			clone := "pool.snapshot.clone"
			if release == "25.04.2" {
				clone = "zfs.snapshot.clone"
			}
			nas.Inject(sim.Fault{Method: clone, Nth: 2, Then: sim.Refuse, Err: &sim.CallError{Errno: 14, Reason: "[EFAULT] no"}})
			if err := revertWeb1(t.Context(), client); err == nil || len(treeOf(nas, root1)) > 0 {
				t.Fatalf("the revert: %v; the disk: %v", err, treeOf(nas, root1))
			}
			refusedWith(t, createWeb1(t.Context(), client), "Aborted", "repeat the revert")
			must(t, revertWeb1(t.Context(), client))
			must(t, createWeb1(t.Context(), client))
			if got := read(t, nas, root1, 5); got != "first" {
				t.Errorf("the disk holds %q", got)
			}
		})
	}
}

// Snapshots of other clients are neither deleted nor reverted to, whatever their names.
func TestSnapshotsOfOthersStay(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			withWeb1(t, client, nas)
			periodic(t, nas, "auto-1")
			periodic(t, nas, "s2")
			before := nas.State()
			for _, name := range []string{"auto-1", "s2"} {
				_, err := client.SnapshotDelete(t.Context(), &providerv1.SnapshotDeleteRequest{VmId: idOfWeb1, SnapshotId: name})
				refusedWith(t, err, "FailedPrecondition", "not taken by this provider")
				_, err = client.SnapshotRevert(t.Context(), &providerv1.SnapshotRevertRequest{VmId: idOfWeb1, SnapshotId: name})
				refusedWith(t, err, "FailedPrecondition", "not taken by this provider")
			}
			_, err := client.SnapshotCreate(t.Context(), &providerv1.SnapshotCreateRequest{VmId: idOfWeb1, NameHint: "s2"})
			refusedWith(t, err, "AlreadyExists", "not taken by this provider")
			same(t, before, nas.State())
		})
	}
}

// A held snapshot is named with its tag before anything changes.
func TestHeldSnapshotsAreRefused(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			withSnapshot(t, client, nas)
			must(t, power(providerv1.PowerOp_POWER_OP_ON)(t.Context(), client))
			must(t, nas.SetHeld(data1+"@s1", true))
			before := nas.State()
			refusedWith(t, deleteSnapshot(t.Context(), client), "FailedPrecondition", data1+"@s1 is held (tag truenas)")
			refusedWith(t, deleteVM(idOfWeb1)(t.Context(), client), "FailedPrecondition", data1+"@s1 is held (tag truenas)")
			same(t, before, nas.State())
			must(t, nas.SetHeld(data1+"@s1", false))
			must(t, deleteVM(idOfWeb1)(t.Context(), client))
			if left := treeOf(nas, tree1); len(left) > 0 {
				t.Errorf("Delete leaves %v", left)
			}
		})
	}
}

// same fails if the NAS has changed.
func same(t *testing.T, before, after sim.State) {
	t.Helper()
	if !reflect.DeepEqual(before, after) {
		t.Errorf("the NAS was changed:\n%s", diff(t, before, after))
	}
}
