package destroy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestOwnOnly: a provider makes volumes in a dataset, or the dataset of an ISO. Anything else in it was made by another client, and
// neither that nor a snapshot with a hold is destroyed.
func TestOwnOnly(t *testing.T) {
	dataset := func(id string) truenas.Dataset { return truenas.Dataset{ID: id, Type: truenas.Filesystem} }
	volume := func(id string) truenas.Dataset { return truenas.Dataset{ID: id, Type: truenas.Volume} }
	iso := dataset("tank/a/iso")
	iso.LocalUserProperties = map[string]string{spec.PropMedia: spec.MediaISO}
	other := dataset("tank/a/iso")
	other.LocalUserProperties = map[string]string{spec.PropMedia: "film"}
	for _, tt := range []struct {
		name string
		c    Contents
		own  string // the refusal by [Contents.OwnOnly]
		free string // that by free, if it differs
	}{
		{"an empty dataset", Contents{Datasets: []truenas.Dataset{dataset("tank/a")}}, "", ""},
		{"volumes", Contents{Datasets: []truenas.Dataset{dataset("tank/a"), volume("tank/a/root"), volume("tank/a/data")}}, "", ""},
		{"a volume itself", Contents{Datasets: []truenas.Dataset{volume("tank/a")}}, "", ""},
		{"an ISO's dataset", Contents{Datasets: []truenas.Dataset{dataset("tank/a"), iso}}, "", ""},
		{"other media", Contents{Datasets: []truenas.Dataset{dataset("tank/a"), other}}, "tank/a/iso was not made by this provider", ""},
		{"a dataset", Contents{Datasets: []truenas.Dataset{dataset("tank/a"), dataset("tank/a/mine")}}, "tank/a/mine was not made by this provider", ""},
		{"a volume deeper", Contents{Datasets: []truenas.Dataset{dataset("tank/a"), volume("tank/a/b/root")}}, "tank/a/b/root was not made by this provider", ""},
		{"snapshots", Contents{Datasets: []truenas.Dataset{dataset("tank/a")}, Snapshots: []truenas.Snapshot{{ID: "tank/a@s"}}}, "", ""},
		{"a hold", Contents{Datasets: []truenas.Dataset{dataset("tank/a")}, Snapshots: []truenas.Snapshot{{ID: "tank/a@s"}, {ID: "tank/a@t", Holds: []string{"z", "k"}}}}, "snapshot tank/a@t", ""},
		{"a clone elsewhere", Contents{Datasets: []truenas.Dataset{dataset("tank/a")}, Clones: []truenas.Dataset{{ID: "tank/b", Origin: "tank/a/root@s"}, {ID: "tank/c"}}}, "", "tank/b is a clone of tank/a/root@s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.roots = []string{"tank/a"}
			for name, check := range map[string]struct {
				err  error
				says string
			}{"OwnOnly": {tt.c.OwnOnly(), tt.own}, "free": {tt.c.free(), tt.own + tt.free}} {
				if (check.err == nil) != (check.says == "") || check.err != nil && !strings.Contains(check.err.Error(), check.says) {
					t.Errorf("%s: got %v, want %q", name, check.err, check.says)
				}
			}
		})
	}
	held := HeldError(truenas.Snapshot{ID: "tank/a@t", Holds: []string{"z", "k"}})
	if !errors.Is(held, truenas.ErrHeld) || !strings.Contains(held.Error(), "(tag k, z)") {
		t.Errorf("got %v", held)
	}
	if differs, public := refusal.Public(CloneError(truenas.Dataset{ID: "tank/b", Origin: "tank/a@s"})); !differs || strings.Contains(public.Error(), "tank/b") {
		t.Errorf("tenants see %v", public)
	}
}

// survey is a NAS with a VM's dataset, a clone of its disk, and a dataset whose name begins alike.
func survey(t *testing.T) (*truenas.Client, *sim.Sim) {
	t.Helper()
	api, nas := truenastest.New(t)
	if err := errors.Join(
		nas.AddDataset("tank/a", nil), nas.AddVolume("tank/a/root", 1<<30, nil), nas.AddVolume("tank/a/data", 1<<30, nil),
		nas.AddDataset("tank/ab", nil), nas.AddSnapshot("tank/a/root@s"), nas.AddSnapshot("tank/a/root@ready"), nas.AddSnapshot("tank/a@s"), nas.AddSnapshot("tank/ab@s"),
		nas.AddClone("tank/a/root@s", "tank/clone"),
	); err != nil {
		t.Fatal(err)
	}
	return api, nas
}

func datasets(list []truenas.Dataset) string {
	var ids []string
	for _, d := range list {
		ids = append(ids, d.ID)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func snapshots(t *testing.T, api *truenas.Client, of ...string) string {
	t.Helper()
	names, err := api.Snapshots.Names(t.Context(), of...)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestSurvey reads what is in a dataset, and what depends on it elsewhere.
func TestSurvey(t *testing.T) {
	api, nas := survey(t)
	c, err := Survey(t.Context(), api, "tank/a")
	if err != nil {
		t.Fatal(err)
	}
	if got := datasets(c.Datasets); got != "tank/a tank/a/data tank/a/root" {
		t.Errorf("datasets: %s", got)
	}
	if got := datasets(c.Clones); got != "tank/clone" {
		t.Errorf("clones: %s", got)
	}
	if len(c.Snapshots) != 3 {
		t.Errorf("snapshots: %+v", c.Snapshots)
	}
	if got := datasets(c.below()); got != "tank/a/data tank/a/root" {
		t.Errorf("below: %s", got)
	}
	if c, err := Survey(t.Context(), api); err != nil || len(c.Datasets)+len(c.Snapshots) > 0 {
		t.Errorf("of nothing: %+v, %v", c, err)
	}
	for _, method := range []string{"pool.dataset.query", "zfs.snapshot.query"} {
		if method == "zfs.snapshot.query" && !slices.Contains(nas.Calls(), method) {
			method = "pool.snapshot.query"
		}
		nas.Inject(sim.Fault{Method: method, Then: sim.Refuse})
		if c, err := Survey(t.Context(), api, "tank/a"); err == nil {
			t.Errorf("%s fails: got %+v", method, c)
		}
	}
}

// TestDatasetWithDependents: a dataset with a clone elsewhere stays whole. Without the clone all of it goes, and nothing else.
func TestDatasetWithDependents(t *testing.T) {
	api, nas := survey(t)
	before := snapshots(t, api, "tank/a", "tank/a/root", "tank/ab")
	if err := Dataset(t.Context(), api, "tank/a"); err == nil || !strings.Contains(err.Error(), "tank/clone is a clone of") || !strings.HasPrefix(err.Error(), "dataset tank/a: ") {
		t.Errorf("got %v", err)
	}
	if got := snapshots(t, api, "tank/a", "tank/a/root", "tank/ab"); got != before {
		t.Errorf("snapshots left: %s", got)
	}
	if err := nas.RemoveDataset("tank/clone"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // An absent dataset is success.
		if err := Dataset(t.Context(), api, "tank/a"); err != nil {
			t.Error(err)
		}
	}
	left, err := api.Datasets.List(t.Context())
	if err != nil || datasets(left) != "tank tank/ab" {
		t.Errorf("left: %s, %v", datasets(left), err)
	}
	if got := snapshots(t, api, "tank/ab"); got != "tank/ab@s" {
		t.Errorf("snapshots left: %s", got)
	}
}

// TestDropUncloned keeps the snapshots that clones depend on.
func TestDropUncloned(t *testing.T) {
	api, _ := survey(t)
	c, err := Survey(t.Context(), api, "tank/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DropUncloned(t.Context(), api); err != nil {
		t.Error(err)
	}
	if got := snapshots(t, api, "tank/a", "tank/a/root", "tank/ab"); got != "tank/a/root@s tank/ab@s" {
		t.Errorf("snapshots left: %s", got)
	}
}

// TestSnapshotsNamed destroys the snapshots of one name in a tree, except for those that are to stay.
func TestSnapshotsNamed(t *testing.T) {
	api, nas := survey(t)
	if err := errors.Join(nas.RemoveDataset("tank/clone"), nas.AddSnapshot("tank/a/data@s")); err != nil {
		t.Fatal(err)
	}
	if err := SnapshotsNamed(t.Context(), api, "tank/a", "s", "tank/a/data@s"); err != nil {
		t.Error(err)
	}
	if got := snapshots(t, api, "tank/a", "tank/a/root", "tank/a/data", "tank/ab"); got != "tank/a/data@s tank/a/root@ready tank/ab@s" {
		t.Errorf("snapshots left: %s", got)
	}
	nas.Inject(sim.Fault{Method: "pool.dataset.query", Then: sim.Refuse})
	if err := SnapshotsNamed(t.Context(), api, "tank/a", "s"); err == nil {
		t.Error("the datasets could not be read, and that is success")
	}
}

// TestSnapshotWithDependents: a snapshot with a clone or a hold stays, and the error names the snapshot.
func TestSnapshotWithDependents(t *testing.T) {
	api, _ := survey(t)
	if err := Snapshot(t.Context(), api, "tank/a/root@s"); !errors.Is(err, truenas.ErrHasClones) || !strings.HasPrefix(err.Error(), "snapshot tank/a/root@s was cloned meanwhile: ") {
		t.Errorf("with a clone: %v", err)
	}
	if err := SnapshotDeferred(t.Context(), api, "tank/a/root@s"); err != nil {
		t.Errorf("deferred: %v", err)
	}
	for range 2 {
		if err := Snapshot(t.Context(), api, "tank/a@s"); err != nil {
			t.Error(err)
		}
	}
}
