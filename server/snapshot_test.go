package server_test

import (
	"bytes"
	"context"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// newVM makes a VM from a template and returns its id.
func newVM(t testing.TB, client providerv1.ProviderClient, name string) string {
	t.Helper()
	req := wanted(name)
	req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
	resp, err := client.Create(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetId()
}

func write(t testing.TB, nas *sim.Sim, volume, text string) {
	t.Helper()
	if _, err := nas.WriteVolume(volume, []byte(text), 4096); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, nas *sim.Sim, volume string, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := nas.ReadVolume(volume, p, 4096); err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimRight(p, "\x00"))
}

func TestSnapshotsOfAllDisks(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			id := newVM(t, client, "web-1")
			ctx := context.Background()
			root, data := "tank/virtrigaud/vms/web_1/root", "tank/virtrigaud/vms/web_1/data"
			write(t, nas, root, "first")
			write(t, nas, data, "erste")
			snapshot := func(name string) string {
				t.Helper()
				resp, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: name, Description: "before"})
				if err != nil {
					t.Fatal(err)
				}
				return resp.GetSnapshotId()
			}
			snap := snapshot("snap-1")
			if again := snapshot("snap-1"); again != snap {
				t.Errorf("the same name is %q and %q", snap, again)
			}
			write(t, nas, root, "other")
			write(t, nas, data, "zweit")
			revert := func(name string) error {
				_, err := client.SnapshotRevert(ctx, &providerv1.SnapshotRevertRequest{VmId: id, SnapshotId: name})
				return err
			}
			if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
				t.Fatal(err)
			}
			refusedWith(t, revert(snap), "FailedPrecondition", "power it off")
			if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_OFF}); err != nil {
				t.Fatal(err)
			}
			newer := snapshot("snap-2")
			refusedWith(t, revert(snap), "FailedPrecondition", newer)
			remove := func(name string) error {
				_, err := client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: id, SnapshotId: name})
				return err
			}
			for range 2 {
				if err := remove(newer); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := revert(snap); err != nil {
					t.Fatal(err)
				}
			}
			if got := read(t, nas, root, 5) + read(t, nas, data, 5); got != "firsterste" {
				t.Errorf("after the revert the disks hold %q", got)
			}
			if err := remove(snap); err != nil {
				t.Fatal(err)
			}
			refusedWith(t, revert(snap), "NotFound", "snapshot")
			if len(nas.State().Snapshots) != 1 {
				t.Errorf("snapshots left: %v", nas.State().Snapshots)
			}
			_, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "m", IncludeMemory: true})
			refusedWith(t, err, "InvalidArgument", "include_memory")
		})
	}
}
