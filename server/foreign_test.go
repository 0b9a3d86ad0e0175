package server_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// The objects of other users on a NAS, and the limits of the data that one operation may read.
const (
	foreignDatasets  = 1000
	foreignSnapshots = 50000
	maxSnapshotsRead = 20
	maxDatasetsSent  = 40
)

// crowdPool fills a pool with datasets and snapshots of other users.
func crowdPool(t testing.TB, nas *sim.Sim) {
	t.Helper()
	if err := nas.AddDataset("tank/home", nil); err != nil {
		t.Fatal(err)
	}
	for i := range foreignDatasets {
		dataset := fmt.Sprintf("tank/home/user%d", i)
		if err := nas.AddDataset(dataset, nil); err != nil {
			t.Fatal(err)
		}
		for k := range foreignSnapshots / foreignDatasets {
			if err := nas.AddSnapshot(fmt.Sprintf("%s@auto-%d", dataset, k)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestForeignDataIsNotRead: the cost of an operation on the NAS does not grow with the datasets and snapshots of other users.
func TestForeignDataIsNotRead(t *testing.T) {
	for _, release := range sampling.Of(t, releases) {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			newVM(t, client, "first") // The provider has cached the NAS by then.
			crowdPool(t, nas)
			var id string
			for _, step := range []struct {
				name string
				do   func() error
			}{
				{"Create", func() error { id = newVM(t, client, "web-1"); return nil }},
				{"SnapshotCreate", func() error {
					_, err := client.SnapshotCreate(t.Context(), &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "before"})
					return err
				}},
				{"GetDiskInfo", func() error {
					_, err := client.GetDiskInfo(t.Context(), &providerv1.GetDiskInfoRequest{VmId: id, SnapshotId: "before"})
					return err
				}},
				{"Delete", func() error {
					_, err := client.Delete(t.Context(), &providerv1.DeleteRequest{Id: id})
					return err
				}},
			} {
				nas.ResetCalls()
				if err := step.do(); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				t.Logf("%s reads %d snapshots and gets %d datasets in %d calls", step.name, nas.SnapshotsRead(), nas.DatasetsSent(), len(nas.Calls()))
				if read := nas.SnapshotsRead(); read > maxSnapshotsRead {
					t.Errorf("%s reads %d snapshots; at most %d: %v", step.name, read, maxSnapshotsRead, nas.Calls())
				}
				if sent := nas.DatasetsSent(); sent > maxDatasetsSent {
					t.Errorf("%s gets %d datasets; at most %d: %v", step.name, sent, maxDatasetsSent, nas.Calls())
				}
			}
		})
	}
}

// TestCleaningReadsNoForeignSnapshots: the doctor, and the removal of an incomplete full clone, read the snapshots of the
// provider's datasets and no others.
func TestCleaningReadsNoForeignSnapshots(t *testing.T) {
	for _, release := range sampling.Of(t, releases) {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, truenastest.Release(release))
			client, s := serve(t, api)
			deleteUnfinished.prepare(t, client, nas)
			crowdPool(t, nas)
			nas.ResetCalls()
			if _, err := s.Leftovers(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			if read := nas.SnapshotsRead(); read > maxSnapshotsRead {
				t.Errorf("the doctor reads %d snapshots; at most %d: %v", read, maxSnapshotsRead, nas.Calls())
			}
			nas.ResetCalls()
			for range tries {
				if err := deleteVM(idOfWeb2)(t.Context(), client); err == nil {
					break
				} else if status.Code(err) != codes.Aborted {
					t.Fatal(err)
				}
			}
			if read := nas.SnapshotsRead(); read > 2*maxSnapshotsRead {
				t.Errorf("Delete reads %d snapshots; at most %d: %v", read, 2*maxSnapshotsRead, nas.Calls())
			}
		})
	}
}
