package server_test

import (
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
)

// Objects that other clients make in the datasets of the provider during an operation.
const (
	othersSnapshot = "auto-2026-11-29_01-00" // in the form of a periodic task
	othersClone    = "tank/theirs"
)

// byOthers are the faults that other clients and a partial destroy cause. Except for the destroy, each is swept on one release
// per call, like refusals. Two kinds of operations have other end states then: a revert keeps the snapshots of others and sets
// the disk aside, and an export or a staging dataset with holds or clones of others stays until the doctor removes it.
func byOthers() []fault {
	return []fault{
		{name: "a periodic snapshot in the middle", try: among(takePeriodic, func(*testing.T, *point) {}), refusal: true, spares: []string{"Revert"}},
		{name: "a held snapshot in the middle", try: among(takeHeld, unhold), refusal: true, spares: []string{"Revert", "Image", "Installer", "Export"}},
		{name: "another client's clone in the middle", try: among(cloneTheirs, cloneIsThere), refusal: true, spares: []string{"Revert", "Export"}},
		bySecondCluster(),
		{name: "destroyed nothing and said true", try: lasting(sim.Fault{Then: sim.DestroyHalf}), only: "pool.dataset.delete", since: "26"},
	}
}

// among calls do when the n-th call arrives, and after once the operation was tried.
func among(do, after func(*testing.T, *point)) func(*testing.T, *point, int) error {
	return func(t *testing.T, p *point, n int) error {
		p.nas.OnCall(func(i int, _ string) {
			if i == n {
				do(t, p)
			}
		})
		err := p.with(t, p.lasting(t))
		p.nas.OnCall(nil)
		after(t, p)
		return err
	}
}

// takePeriodic takes a snapshot of the provider's complete tree, as a recursive task of the pool does.
func takePeriodic(t *testing.T, p *point) {
	for _, d := range p.nas.State().Datasets {
		if !strings.HasPrefix(d.Name, "tank/virtrigaud/") {
			continue
		}
		if err := p.nas.AddSnapshot(d.Name + "@" + othersSnapshot); err != nil {
			t.Log(err) // The dataset was removed in between.
		}
	}
}

// takeHeld puts a hold on each of these snapshots, as a replication task does.
func takeHeld(t *testing.T, p *point) {
	takePeriodic(t, p)
	for _, s := range p.nas.State().Snapshots {
		if err := p.nas.SetHeld(s.ID, strings.HasSuffix(s.ID, "@"+othersSnapshot)); err != nil {
			t.Log(err)
		}
	}
}

// unhold releases the holds, as the end of the replication does.
func unhold(t *testing.T, p *point) {
	for _, s := range p.nas.State().Snapshots {
		if err := p.nas.SetHeld(s.ID, false); err != nil {
			t.Error(err)
		}
	}
}

// cloneTheirs clones the first snapshot of a VM's disk or of an image.
func cloneTheirs(t *testing.T, p *point) {
	for _, s := range p.nas.State().Snapshots {
		if err := p.nas.AddClone(s.ID, othersClone); err == nil {
			p.theirs = true
			return
		}
	}
	t.Log("there is no snapshot to clone")
}

// cloneIsThere checks that the other client's clone still exists, and then removes it.
func cloneIsThere(t *testing.T, p *point) {
	if !p.theirs {
		return
	}
	if err := p.nas.RemoveDataset(othersClone); err != nil {
		t.Errorf("another client's clone was destroyed: %v", err)
	}
}

// withoutOthers returns a state without the objects of other clients.
func withoutOthers(s sim.State) sim.State {
	s.Snapshots = slices.DeleteFunc(s.Snapshots, func(n sim.SnapshotState) bool { return strings.HasSuffix(n.ID, "@"+othersSnapshot) })
	s.Datasets = slices.DeleteFunc(s.Datasets, func(d sim.DatasetState) bool { return strings.HasPrefix(d.Name, secondDataset) })
	if len(s.Snapshots) == 0 {
		s.Snapshots = nil
	}
	return s
}
