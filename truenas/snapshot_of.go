package truenas

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// snapshotNames is a query that selects only names: up to 25.10 the only query by dataset that does
// not read every snapshot of the NAS.
var snapshotNames = method[[]struct {
	Name string `json:"name"`
}]{"pool.snapshot.query", read}

// Names returns the full names, dataset@name, of the snapshots of some datasets, without snapshots of datasets below them.
// From 26 on the result is empty if one of the datasets does not exist.
func (s Snapshots) Names(ctx context.Context, datasets ...string) ([]string, error) {
	return s.names(ctx, datasets, nil)
}

// Newer returns the full names of the snapshots of some datasets that are newer than a transaction
// group, as in [Snapshot.CreateTXG], in no order.
func (s Snapshots) Newer(ctx context.Context, txg int64, datasets ...string) ([]string, error) {
	return s.names(ctx, datasets, map[string]any{"min_txg": txg + 1})
}

func (s Snapshots) names(ctx context.Context, datasets []string, extra map[string]any) ([]string, error) {
	options := queryOptions{Extra: extra, Select: []string{"name"}}
	rows, err := snapshotCall(ctx, s.c, snapshotNames, query([]Filter{Cond("dataset", "in", datasets)}, options)...)
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row.Name
	}
	return names, err
}

// Of returns the snapshots of some datasets with their holds and user properties: from 26 on in one
// call, up to 25.10 in one call per snapshot plus one for their names, because a query for several
// reads every snapshot of the NAS. TrueNAS 26 and 27 report only their own holds, whose tag is
// "truenas".
func (s Snapshots) Of(ctx context.Context, datasets ...string) ([]Snapshot, error) {
	release, err := s.c.ready(ctx)
	if err != nil || len(datasets) == 0 {
		return nil, err
	}
	if release.AtLeast(R26) {
		return s.detailed(ctx, Cond("dataset", "in", datasets))
	}
	names, err := s.Names(ctx, datasets...)
	if err != nil {
		return nil, err
	}
	return s.Find(ctx, names...)
}

// Picked returns the snapshots of some datasets that keep selects by name, with their holds and user properties. It reads no
// other snapshots of the NAS. A dataset that disappears meanwhile has none.
func (s Snapshots) Picked(ctx context.Context, keep func(name string) bool, datasets ...string) ([]Snapshot, error) {
	release, err := s.c.ready(ctx)
	if err != nil || len(datasets) == 0 {
		return nil, err
	}
	if release.AtLeast(R26) {
		all, err := s.existing(ctx, datasets)
		return slices.DeleteFunc(all, func(snap Snapshot) bool { return !keep(snap.Name) }), err
	}
	ids, err := s.Names(ctx, datasets...)
	if err != nil {
		return nil, err
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { _, name, _ := strings.Cut(id, "@"); return !keep(name) })
	return s.Find(ctx, ids...)
}

// pickTries limits the retries after a dataset disappears while its snapshots are read.
const pickTries = 5

// existing returns the snapshots of some datasets from 26 on. TrueNAS's list is empty if one of the datasets does not exist, as
// it is without snapshots, so existing retries with the datasets that remain.
func (s Snapshots) existing(ctx context.Context, datasets []string) ([]Snapshot, error) {
	for range pickTries {
		all, err := s.detailed(ctx, Cond("dataset", "in", datasets))
		if err != nil || len(all) > 0 {
			return all, err
		}
		there, err := Datasets(s).List(ctx, Cond("id", "in", datasets))
		if err != nil || len(there) == len(datasets) || len(there) == 0 {
			return nil, err
		}
		datasets = nil
		for _, d := range there {
			datasets = append(datasets, d.ID)
		}
	}
	return nil, &Error{Method: snapshotQuery.name, Reason: "read of snapshots failed: datasets keep being destroyed", kind: ErrBusy}
}

// inspectWidth is the number of concurrent queries for snapshots.
const inspectWidth = 8

// Find returns those of the named snapshots that exist, with their holds and user properties. It makes a query for each.
func (s Snapshots) Find(ctx context.Context, names ...string) ([]Snapshot, error) {
	found, failed := make([]Snapshot, len(names)), make([]error, len(names))
	var wait sync.WaitGroup
	places := make(chan struct{}, inspectWidth)
	for i, name := range names {
		places <- struct{}{}
		wait.Go(func() {
			found[i], failed[i] = s.Inspect(ctx, name)
			<-places
		})
	}
	wait.Wait()
	var list []Snapshot
	for i, err := range failed {
		switch {
		case err == nil:
			list = append(list, found[i])
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return list, nil
}

// Inspect returns a snapshot with its holds and user properties, or
// [ErrNotFound].
func (s Snapshots) Inspect(ctx context.Context, id string) (Snapshot, error) {
	found, err := s.detailed(ctx, Where("id", id))
	if err == nil && len(found) == 0 {
		err = &Error{Method: snapshotQuery.name, Reason: "snapshot " + id + " does not exist", kind: ErrNotFound}
	}
	if err != nil {
		return Snapshot{}, err
	}
	return found[0], nil
}

func (s Snapshots) detailed(ctx context.Context, filter Filter) ([]Snapshot, error) {
	options, err := s.details(ctx)
	if err != nil {
		return nil, err
	}
	return snapshotCall(ctx, s.c, snapshotQuery, query([]Filter{filter}, options)...)
}

// details requests holds in addition to the properties of [Snapshots.List].
func (s Snapshots) details(ctx context.Context) (queryOptions, error) {
	options, err := s.options(ctx)
	if err == nil {
		options.Extra["holds"] = true
	}
	return options, err
}
