package truenas_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

func TestDatasets(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, _ *sim.Sim) {
		ctx := bounded(t)
		must(c.Datasets.Create(ctx, truenas.DatasetCreate{
			Name: "tank/a/b", CreateAncestors: true, UserProperties: map[string]string{"virtrigaud:provider": "p"},
		}))(t)
		made := must(c.Datasets.Create(ctx, truenas.DatasetCreate{
			Name: "tank/a/b/v", Type: truenas.Volume, VolsizeBytes: 1 << 30, Sparse: true, VolBlockSize: "16K",
			UserProperties: map[string]string{"virtrigaud:owner": "o"},
		}))(t)
		d := must(c.Datasets.Get(ctx, "tank/a/b/v"))(t)
		for name, d := range map[string]truenas.Dataset{"created": made, "read": d} {
			if d.ID != "tank/a/b/v" || d.Pool != "tank" || d.Type != truenas.Volume || d.VolsizeBytes != 1<<30 || d.VolBlockSizeBytes != 16<<10 || d.Mountpoint != "" || d.Origin != "" || d.AvailableBytes == 0 {
				t.Errorf("%s: %+v", name, d)
			}
		}
		if d.UserProperties["virtrigaud:provider"] != "p" || d.UserProperties["virtrigaud:owner"] != "o" {
			t.Errorf("properties: %v", d.UserProperties)
		}
		own := 1
		if c.Release().AtLeast(truenas.R25_10) {
			own = 2 // The NAS reports inherited ones as local, too.
		}
		if len(d.LocalUserProperties) != own || d.LocalUserProperties["virtrigaud:owner"] != "o" {
			t.Errorf("its own properties: %v", d.LocalUserProperties)
		}
		size := int64(2 << 30)
		d = must(c.Datasets.Update(ctx, d.ID, truenas.DatasetUpdate{
			VolsizeBytes: &size, SetUserProperties: map[string]string{"virtrigaud:name": "n"}, RemoveUserProperties: []string{"virtrigaud:owner"},
		}))(t)
		if d = must(c.Datasets.Get(ctx, d.ID))(t); d.VolsizeBytes != size || d.LocalUserProperties["virtrigaud:name"] != "n" || d.UserProperties["virtrigaud:owner"] != "" {
			t.Errorf("updated: %+v", d)
		}
		all := must(c.Datasets.List(ctx, truenas.Cond("id", "^", "tank/a")))(t)
		var names []string
		for _, d := range all {
			names = append(names, d.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"tank/a", "tank/a/b", "tank/a/b/v"}) {
			t.Errorf("listed: %v", names)
		}
		if i := slices.IndexFunc(all, func(d truenas.Dataset) bool { return d.Name == "tank/a/b" }); all[i].Mountpoint != "/mnt/tank/a/b" || all[i].UserProperties["virtrigaud:provider"] != "p" {
			t.Errorf("a file system: %+v", all[i])
		}
	})
}

func TestDatasetRefusals(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		ok(t, nas.AddDataset("tank/a", nil))
		ok(t, nas.AddVolume("tank/a/v", 1<<30, nil))
		size := int64(1 << 20)
		for _, tt := range []struct {
			name string
			err  error
			want error
		}{
			{"an existing one", second(c.Datasets.Create(ctx, truenas.DatasetCreate{Name: "tank/a"})), truenas.ErrExists},
			{"a missing one", second(c.Datasets.Get(ctx, "tank/x")), truenas.ErrNotFound},
			{"deletion of a missing one", c.Datasets.Delete(ctx, "tank/x", truenas.DatasetDelete{}), truenas.ErrNotFound},
			{"children", c.Datasets.Delete(ctx, "tank/a", truenas.DatasetDelete{}), truenas.ErrNotEmpty},
			{"more than the free space", second(c.Datasets.Create(ctx, truenas.DatasetCreate{Name: "tank/big", Type: truenas.Volume, VolsizeBytes: 2 << 40})), truenas.ErrNoSpace},
			{"shrinking", second(c.Datasets.Update(ctx, "tank/a/v", truenas.DatasetUpdate{VolsizeBytes: &size})), truenas.ErrInvalid},
			{"a key without a colon", second(c.Datasets.Create(ctx, truenas.DatasetCreate{Name: "tank/k", UserProperties: map[string]string{"k": "v"}})), truenas.ErrInvalid},
		} {
			if !errors.Is(tt.err, tt.want) {
				t.Errorf("%s: %v", tt.name, tt.err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestSnapshotsAndClones(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		ok(t, nas.AddVolume("tank/v", 1<<30, nil))
		s := must(c.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: "tank/v", Name: "ready", UserProperties: map[string]string{"virtrigaud:source": "s"}}))(t)
		if s.ID != "tank/v@ready" || s.Dataset != "tank/v" || s.Name != "ready" || s.Pool != "tank" {
			t.Errorf("made: %+v", s)
		}
		if err := second(c.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: "tank/v", Name: "ready"})); !errors.Is(err, truenas.ErrExists) {
			t.Errorf("made twice: %v", err)
		}
		ok(t, c.Snapshots.Clone(ctx, s.ID, "tank/c", map[string]string{"virtrigaud:owner": "o"}))
		if err := c.Snapshots.Clone(ctx, s.ID, "tank/c", nil); !errors.Is(err, truenas.ErrExists) {
			t.Errorf("cloned twice: %v", err)
		}
		if err := c.Snapshots.Clone(ctx, "tank/v@x", "tank/d", nil); !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("clone of a missing snapshot: %v", err)
		}
		if d := must(c.Datasets.Get(ctx, "tank/c"))(t); d.Origin != s.ID || d.LocalUserProperties["virtrigaud:owner"] != "o" {
			t.Errorf("the clone: %+v", d)
		}
		s = must(c.Snapshots.Get(ctx, s.ID))(t)
		if !slices.Equal(s.Clones, []string{"tank/c"}) || s.UserProperties["virtrigaud:source"] != "s" || time.Since(s.CreatedAt).Abs() > time.Hour {
			t.Errorf("read: %+v", s)
		}
		if err := c.Snapshots.Delete(ctx, s.ID, truenas.SnapshotDelete{}); !errors.Is(err, truenas.ErrHasClones) {
			t.Errorf("deletion of a snapshot with clones: %v", err)
		}
		if !c.Release().AtLeast(truenas.R26) { // 26 and later destroy the clone.
			if err := c.Datasets.Delete(ctx, "tank/v", truenas.DatasetDelete{Recursive: true}); !errors.Is(err, truenas.ErrHasClones) {
				t.Errorf("deletion of a clone's origin: %v", err)
			}
		}
		ok(t, c.Datasets.Promote(ctx, "tank/c"))
		if d := must(c.Datasets.Get(ctx, "tank/v"))(t); d.Origin != "tank/c@ready" {
			t.Errorf("after the promotion: %+v", d)
		}
		must(c.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: "tank/v", Name: "s1"}))(t)
		must(c.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: "tank/v", Name: "s2"}))(t)
		if err := c.Snapshots.Rollback(ctx, "tank/v@s1", truenas.RollbackOptions{}); err == nil {
			t.Error("the rollback passed a newer snapshot")
		}
		ok(t, c.Snapshots.Rollback(ctx, "tank/v@s1", truenas.RollbackOptions{Recursive: true}))
		if found := must(c.Snapshots.List(ctx, truenas.Where("dataset", "tank/v")))(t); len(found) != 1 || found[0].Name != "s1" {
			t.Errorf("left: %+v", found)
		}
		ok(t, c.Snapshots.Delete(ctx, "tank/v@s1", truenas.SnapshotDelete{}))
		if _, err := c.Snapshots.Get(ctx, "tank/v@s1"); !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("gone: %v", err)
		}
	})
}

func TestFiles(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		ok(t, nas.AddDataset("tank/a", nil))
		content := bytes.Repeat([]byte("TrueNAS!"), 40_000)
		for _, size := range []int64{int64(len(content)), -1} {
			var sent int64
			ok(t, c.Files.Put(ctx, "/mnt/tank/a/f", 0o600, bytes.NewReader(content), size, func(n int64) { sent = n }))
			if sent != int64(len(content)) {
				t.Errorf("progress of %d bytes", sent)
			}
		}
		if stored := must(nas.File("/mnt/tank/a/f"))(t); !bytes.Equal(stored, content) {
			t.Errorf("%d stored bytes", len(stored))
		}
		info := must(c.Files.Stat(ctx, "/mnt/tank/a/f"))(t)
		if info.Size != int64(len(content)) || info.Mode != 0o600 || info.Type != "FILE" || time.Since(info.MTime).Abs() > time.Hour {
			t.Errorf("stat: %+v", info)
		}
		body := must(c.Files.Get(ctx, "/mnt/tank/a/f"))(t)
		got := must(io.ReadAll(body))(t)
		ok(t, body.Close())
		if !bytes.Equal(got, content) {
			t.Errorf("got %d bytes", len(got))
		}
	})
}

func TestFileRefusals(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		if _, err := c.Files.Stat(ctx, "/mnt/tank/x"); !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("stat of a missing file: %v", err)
		}
		if err := c.Files.Put(ctx, "/mnt/none/f", 0o600, bytes.NewReader(nil), 0, nil); err == nil {
			t.Error("the upload into a missing pool succeeded")
		}
		body, err := c.Files.Get(ctx, "/mnt/tank/x")
		if err == nil {
			_, err = io.ReadAll(body)
			_ = body.Close()
		}
		if !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("getting nothing: %v", err)
		}
		nas.SetRoles(sim.DefaultUser, "VM_WRITE", "DATASET_WRITE")
		if err := c.Files.Put(ctx, "/mnt/tank/f", 0o600, bytes.NewReader([]byte("x")), 1, nil); !errors.Is(err, truenas.ErrPermission) {
			t.Errorf("upload without the role: %v", err)
		}
		if _, err := c.System.ARP(ctx); !errors.Is(err, truenas.ErrPermission) {
			t.Errorf("ARP without the role: %v", err)
		}
		broken := io.MultiReader(bytes.NewReader([]byte("half")), failing{})
		if err := c.Files.Put(ctx, "/mnt/tank/f", 0o600, broken, 8, nil); !errors.Is(err, errSource) || errors.Is(err, truenas.ErrUncertain) {
			t.Errorf("failing source: %v", err)
		}
	})
}

var errSource = errors.New("the source is gone")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errSource }
