package server_test

import (
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
)

// What other people do to the datasets of the provider while it is at work.
const (
	othersSnapshot = "auto-2026-11-29_01-00" // as a periodic task names it
	othersClone    = "tank/theirs"
)

// byOthers are the mishaps that other people and a partial destroy make of a call. They take turns as
// refusals do, but for the destroy. Two kinds of operations have ends of their own then: a revert that
// meets snapshots of others keeps them and sets the disk aside, and what others hold or clone of an
// export or of a staging dataset stays until the doctor removes it.
func byOthers() []mishap {
	return []mishap{
		{name: "a periodic snapshot in the middle", try: among(takePeriodic, func(*testing.T, *point) {}), refusal: true, spares: []string{"Revert"}},
		{name: "a held snapshot in the middle", try: among(takeHeld, unhold), refusal: true, spares: []string{"Revert", "Image", "Installer", "Export"}},
		{name: "somebody's clone in the middle", try: among(cloneTheirs, cloneIsThere), refusal: true, spares: []string{"Revert", "Export"}},
		bySecondCluster(),
		{name: "destroyed nothing and said true", try: lasting(sim.Fault{Then: sim.DestroyHalf}), only: "pool.dataset.delete", since: "26"},
	}
}

// among has do happen when the n-th call arrives, and after once the operation was tried.
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

// takePeriodic takes a snapshot of everything of the provider, as a recursive task of the pool does.
func takePeriodic(t *testing.T, p *point) {
	for _, d := range p.nas.State().Datasets {
		if !strings.HasPrefix(d.Name, "tank/virtrigaud/") {
			continue
		}
		if err := p.nas.AddSnapshot(d.Name + "@" + othersSnapshot); err != nil {
			t.Log(err) // The dataset went in between.
		}
	}
}

// takeHeld puts a hold on each of those, as a replication task does.
func takeHeld(t *testing.T, p *point) {
	takePeriodic(t, p)
	for _, s := range p.nas.State().Snapshots {
		if err := p.nas.SetHeld(s.ID, strings.HasSuffix(s.ID, "@"+othersSnapshot)); err != nil {
			t.Log(err)
		}
	}
}

// unhold ends the holds: the task that had them is done.
func unhold(t *testing.T, p *point) {
	for _, s := range p.nas.State().Snapshots {
		if err := p.nas.SetHeld(s.ID, false); err != nil {
			t.Error(err)
		}
	}
}

// cloneTheirs makes a clone of the first snapshot of a VM's disk or an image that there is.
func cloneTheirs(t *testing.T, p *point) {
	for _, s := range p.nas.State().Snapshots {
		if err := p.nas.AddClone(s.ID, othersClone); err == nil {
			p.theirs = true
			return
		}
	}
	t.Log("there is no snapshot to clone")
}

// cloneIsThere holds that what somebody cloned was not destroyed, and then has them give it up.
func cloneIsThere(t *testing.T, p *point) {
	if !p.theirs {
		return
	}
	if err := p.nas.RemoveDataset(othersClone); err != nil {
		t.Errorf("somebody's clone was destroyed: %v", err)
	}
}

// withoutOthers is a state without what others left in it.
func withoutOthers(s sim.State) sim.State {
	s.Snapshots = slices.DeleteFunc(s.Snapshots, func(n sim.SnapshotState) bool { return strings.HasSuffix(n.ID, "@"+othersSnapshot) })
	s.Datasets = slices.DeleteFunc(s.Datasets, func(d sim.DatasetState) bool { return strings.HasPrefix(d.Name, secondDataset) })
	if len(s.Snapshots) == 0 {
		s.Snapshots = nil
	}
	return s
}
