package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/truenas"
)

// Leftover is something on the NAS that is marked as this provider's and belongs to no VM.
type Leftover struct {
	Kind  string    // what it is, for people
	Where string    // a dataset, "dataset@snapshot", or a VM's name on the NAS
	Name  string    // what it was made for, as its owner knows it; empty: not known
	Since time.Time // when it was made; zero: TrueNAS does not say
	Bytes int64     // what its removal sets free, about
	Keep  string    // why it is not to be removed; empty: it may be

	drop func(context.Context) error
}

// Leftovers lists what interrupted work and lost VMs left on the NAS. It decides by what the NAS
// says and by nothing else. What carries no mark of this provider is not looked at. What is
// younger than settled, or than a lease, may be somebody's work in progress and is left out.
func (s *Server) Leftovers(ctx context.Context, settled time.Duration) ([]Leftover, error) {
	e, err := s.examine(ctx, max(settled, s.cfg.LeaseFor))
	if err != nil {
		return nil, err
	}
	// In this order they are removed: what is staged hangs on images and imports, clones on snapshots.
	found := append(e.staging(), e.images()...)
	found = append(found, e.imports()...)
	found = append(found, e.machines()...)
	found = append(found, e.snapshots()...)
	return append(found, e.folders()...), nil
}

// RemoveLeftovers removes what Leftovers lists, but for what says why it is kept. It looks again
// before each step, so that what came into use meanwhile stays. It goes on after a failure and
// answers all of them.
func (s *Server) RemoveLeftovers(ctx context.Context, settled time.Duration) (removed []Leftover, err error) {
	ageless, err := s.ageless(ctx, settled)
	if err != nil {
		return nil, err
	}
	var failures []error
	tried := map[string]bool{}
	for {
		found, err := s.Leftovers(ctx, settled)
		if err != nil {
			return removed, errors.Join(append(failures, err)...)
		}
		next, ok := nextLeftover(found, func(l Leftover) bool {
			return l.Keep != "" || tried[l.Where] || l.Since.IsZero() && !ageless[l.Where]
		})
		if !ok {
			return removed, errors.Join(failures...)
		}
		tried[next.Where] = true
		if err := next.drop(ctx); err != nil {
			failures = append(failures, fmt.Errorf("%s %s: %w", next.Kind, next.Where, err))
			continue
		}
		s.log.Info("removed a leftover", zap.String("kind", next.Kind), zap.String("where", next.Where))
		removed = append(removed, next)
	}
}

// ageless lists the leftovers whose age TrueNAS does not tell. A Create has a VM's record for a
// moment before it has its dataset, so they are looked at again after a lease.
func (s *Server) ageless(ctx context.Context, settled time.Duration) (map[string]bool, error) {
	found, err := s.Leftovers(ctx, settled)
	ageless := map[string]bool{}
	for _, l := range found {
		if l.Since.IsZero() && l.Keep == "" {
			ageless[l.Where] = true
		}
	}
	if err != nil || len(ageless) == 0 {
		return nil, err
	}
	return ageless, sleep(ctx, s.cfg.LeaseFor)
}

func nextLeftover(found []Leftover, skip func(Leftover) bool) (Leftover, bool) {
	for _, l := range found {
		if !skip(l) {
			return l, true
		}
	}
	return Leftover{}, false
}

// examination is the NAS as it was read for one look at it.
type examination struct {
	s        *Server
	before   time.Time // what was made later may be work in progress
	vms      []truenas.VM
	datasets []truenas.Dataset
	byID     map[string]truenas.Dataset
	snaps    []truenas.Snapshot // those that images are, and those that were taken for clones and exports
	jobs     []truenas.Job      // that have not ended
	stray    []string           // folders in whose place no dataset can be made
}

func (s *Server) examine(ctx context.Context, settled time.Duration) (*examination, error) {
	if err := s.admit(ctx); err != nil {
		return nil, err
	}
	e := &examination{s: s, before: time.Now().Add(-settled), byID: map[string]truenas.Dataset{}}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { e.vms, err = s.nas.VMs.List(gctx); return })
	g.Go(func() (err error) { e.datasets, err = s.nas.Datasets.List(gctx); return })
	g.Go(func() (err error) {
		e.snaps, err = s.nas.Snapshots.List(gctx, truenas.Cond("snapshot_name", "~", "^("+readySnapshot+"$|"+cloneSnapshot+"|"+exportSnapshot+")"))
		return
	})
	g.Go(func() (err error) {
		e.jobs, err = s.nas.Jobs.List(gctx, truenas.Cond("state", "in", []string{truenas.JobWaiting, truenas.JobRunning}))
		return
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, d := range e.datasets {
		e.byID[d.ID] = d
	}
	if _, ok := e.byID[s.layout.pool()]; !ok {
		return nil, conflict("the NAS has no pool %q at the moment; nothing can be said of what lies on it", s.layout.pool())
	}
	var err error
	e.stray, err = s.strayFolders(ctx, e.byID)
	return e, err
}

// own says whether a dataset carries this provider's mark itself, and was not made just now.
func (e *examination) own(d truenas.Dataset) bool {
	return d.LocalUserProperties[propProvider] == e.s.cfg.ID && e.settled(d.CreatedAt)
}

func (e *examination) settled(made time.Time) bool { return made.Before(e.before) }

// in lists the datasets of ours that lie in a folder of the tree on any pool.
func (e *examination) in(folder string) []truenas.Dataset {
	var list []truenas.Dataset
	for _, d := range e.datasets {
		name, ok := strings.CutPrefix(d.ID, e.s.layout.root(poolOf(d.ID))+folder)
		if ok && name != "" && !strings.Contains(name, "/") && e.own(d) {
			list = append(list, d)
		}
	}
	return list
}

// leftover describes a dataset. It is kept while a VM, a clone of somebody else's or a job of
// TrueNAS needs it.
func (e *examination) leftover(kind string, d truenas.Dataset, drop func(context.Context) error) Leftover {
	l := Leftover{Kind: kind, Where: d.ID, Name: d.LocalUserProperties[propName], Since: d.CreatedAt, Bytes: d.UsedBytes, drop: drop}
	l.Keep = e.inUse(d.ID, -1)
	return l
}

// inUse says who needs what is in a dataset; except is the number of a VM that does not count.
func (e *examination) inUse(dataset string, except int64) string {
	if users := usersOf(e.vms, dataset, except); len(users) > 0 {
		return fmt.Sprintf("VM %s uses it", users[0])
	}
	for _, d := range e.datasets {
		origin, _, cloned := strings.Cut(d.Origin, "@")
		if cloned && inTree(origin, dataset) && !inTree(d.ID, dataset) && d.UserProperties[propProvider] != e.s.cfg.ID {
			return d.ID + " is a clone of it"
		}
	}
	return e.working(dataset)
}

// working says which job of TrueNAS that has not ended names a dataset or something in it.
func (e *examination) working(dataset string) string {
	for _, job := range e.jobs {
		for _, end := range []string{`"`, "/", "@"} {
			if strings.Contains(string(job.Arguments), dataset+end) {
				return fmt.Sprintf("TrueNAS is at work on it (%s)", job.Method)
			}
		}
	}
	return ""
}
