package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/placement"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// A VM that names no pool is placed on one of [Config.AllowedPools]. The choice depends on the free space, so it is made once: the
// VM's dataset records it, and each later Create finds the dataset by the VM's id, on any pool. A lock dataset on the configured
// pool keeps two replicas from choosing for one VM at the same time.

// chooses reports whether the provider chooses pools.
func (s *Server) chooses() bool { return len(s.cfg.AllowedPools) > 0 }

// choosing returns the feature whose roles a choice needs.
func (s *Server) choosing() feature {
	switch {
	case len(s.cfg.AllowedPools) == 1 && s.cfg.ChoosePool == "": // There is only one pool.
		return makeVMs
	case s.rule.NeedsKind():
		return judgeDisks
	}
	return choosePools
}

// settlePool finds or chooses the pool of a VM that names none. The caller calls release when the VM's dataset exists or the Create
// has failed.
func (s *Server) settlePool(ctx context.Context, want *spec.VM, id string) (release func() error, err error) {
	release = func() error { return nil }
	if want.Pool != "" || !s.chooses() {
		return release, nil
	}
	key, err := s.imageKey(*want)
	if err != nil {
		return release, err
	}
	reserved := s.layout.VMDataset("", want.OnNAS())
	lock := s.layout.HandOverClaim(reserved)
	found, err := s.lookForPool(ctx, want, id, lock, key)
	if err != nil {
		return release, err
	}
	if want.Pool != "" {
		return release, s.dropChoice(ctx, found[lock], id)
	}
	if volume := want.Image.Volume; volume != "" {
		want.Pool = spec.PoolOf(volume) // A clone cannot leave its pool.
		return release, nil
	}
	if err := s.permit(s.choosing()); err != nil {
		return release, err
	}
	if !isDryRun(ctx) {
		if release, err = s.lockChoice(ctx, reserved, id); err != nil {
			return release, err
		}
		if found, err = s.lookForPool(ctx, want, id, lock, key); err != nil || want.Pool != "" {
			return release, err
		}
	}
	want.Pool, err = s.choosePool(ctx, "placement_json.Datastore", found, key)
	return release, err
}

// imageKey returns the name of a VM's image below the folder of images, or "" when the VM needs no download.
func (s *Server) imageKey(want spec.VM) (string, error) {
	if want.Image.Kind != spec.ImageURL {
		return "", nil
	}
	if err := s.resolve(&want); err != nil {
		return "", err
	}
	return want.Image.Prepared.Key, nil
}

// lockChoice excludes other Creates of this name, in this process and in other replicas. The lock dataset carries the VM's id, so
// that Delete finds the lock of a process that ended before it removed it.
func (s *Server) lockChoice(ctx context.Context, reserved, id string) (release func() error, err error) {
	unlock, err := s.locks.Lock(ctx, reserved)
	if err != nil {
		return func() error { return nil }, err
	}
	free, err := s.leases.Reserve(ctx, reserved, id, "its pool is being chosen")
	if err != nil {
		unlock()
		return func() error { return nil }, err
	}
	return func() error { defer unlock(); return free() }, nil
}

// dropChoice removes the lock of a process that ended after it had chosen.
func (s *Server) dropChoice(ctx context.Context, lock truenas.Dataset, id string) error {
	if lock.ID == "" || lock.LocalUserProperties[spec.PropVM] != id || s.leases.Alive(&lock) || isDryRun(ctx) {
		return nil
	}
	return destroy.Dataset(ctx, s.nas, lock.ID)
}

// candidates are the datasets that a choice of a pool depends on, by name.
type candidates map[string]truenas.Dataset

// lookForPool sets the pool of a VM that has its dataset already. The same query reads the candidates for a choice.
func (s *Server) lookForPool(ctx context.Context, want *spec.VM, id, lock, key string) (candidates, error) {
	homes := truenas.Cond("id", "~", s.layout.HomesPattern(want.OnNAS(), spec.NASName(want.Name)))
	found, err := s.readCandidates(ctx, key, homes, truenas.Where("id", lock))
	if err != nil {
		return found, err
	}
	own, err := s.marks.Datasets(id, nil, slices.Collect(maps.Values(found)))
	own = slices.DeleteFunc(own, ownership.IsPlace)
	switch {
	case err != nil:
		return found, err
	case len(own) > 1:
		return found, refusal.FailedPrecondition("placement_json.Datastore: VM %q has a dataset on two pools, %s and %s; name the pool that it is to use", want.Name, own[0].ID, own[1].ID)
	case len(own) == 1:
		want.Pool = spec.PoolOf(own[0].ID)
	}
	return found, nil
}

// readCandidates reads the allowed pools, the roots of their trees, the image of that key on each, and the datasets that match the
// other filters.
func (s *Server) readCandidates(ctx context.Context, key string, more ...truenas.Filter) (candidates, error) {
	var ids []string
	for _, pool := range s.cfg.AllowedPools {
		ids = append(ids, pool, s.layout.Root(pool))
		if key != "" {
			ids = append(ids, s.layout.Root(pool)+spec.ImagesFolder+key)
		}
	}
	list, err := s.nas.Datasets.List(ctx, truenas.AnyOf(append(more, truenas.Cond("id", "in", ids))...))
	found := candidates{}
	for _, d := range list {
		found[d.ID] = d
		if d.ID == s.layout.Root(spec.PoolOf(d.ID)) {
			s.claims.Note(d)
		}
	}
	return found, err
}

// choosePool chooses among the allowed pools; key is that of the image that the VM needs there, or "".
func (s *Server) choosePool(ctx context.Context, field string, found candidates, key string) (string, error) {
	if s.choosing() == makeVMs {
		return s.cfg.AllowedPools[0], nil
	}
	pools, excluded, err := s.judgePools(ctx, found)
	if err != nil {
		return "", err
	}
	chosen, err := s.rule.Choose(pools, func(pool string) bool {
		_, holds := found[s.layout.Root(pool)+spec.ImagesFolder+key]
		return holds && key != ""
	})
	var none placement.NoneError
	if errors.As(err, &none) {
		maps.Copy(none.Reasons, excluded)
		return "", refusal.New(codes.ResourceExhausted, "%s: %v", field, none)
	}
	return chosen, err
}

// judgePools returns the facts about the allowed pools that the rule reads, and the reason why each of the others is unusable under
// any rule.
func (s *Server) judgePools(ctx context.Context, found candidates) (pools []placement.Pool, excluded map[string]string, err error) {
	status, kinds, err := s.readPools(ctx)
	if err != nil {
		return nil, nil, err
	}
	excluded = map[string]string{}
	for _, name := range s.cfg.AllowedPools {
		pool, imported := found[name]
		root, made := found[s.layout.Root(name)]
		if !made {
			root = pool
		}
		switch {
		case !imported:
			excluded[name] = "the NAS has no such pool at the moment"
		case pool.Locked || root.Locked:
			excluded[name] = fmt.Sprintf("dataset %s is encrypted and locked", root.ID)
		case s.claims.Foreign(name):
			excluded[name] = fmt.Sprintf("dataset %s belongs to another installation", root.ID)
		default:
			st := status[name]
			pools = append(pools, placement.Pool{
				Name: name, FreeBytes: root.AvailableBytes, SizeBytes: st.SizeBytes, Healthy: st.Healthy, Encrypted: root.Encrypted, Kind: kinds[name],
			})
		}
	}
	return pools, excluded, nil
}

// readPools reads the state of the pools, and the disks of the NAS if the rule uses the kind of a pool.
func (s *Server) readPools(ctx context.Context) (status map[string]truenas.Pool, kinds map[string]string, err error) {
	if err := s.permit(s.choosing()); err != nil {
		return nil, nil, err
	}
	var pools []truenas.Pool
	var disks []truenas.PhysicalDisk
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { pools, err = s.nas.System.Pools(ctx); return })
	if s.rule.NeedsKind() {
		g.Go(func() (err error) { disks, err = s.nas.System.Disks(ctx); return })
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	status = map[string]truenas.Pool{}
	for _, p := range pools {
		status[p.Name] = p
	}
	return status, kindsOf(disks), nil
}

// kindsOf returns the kind of disks of each pool.
func kindsOf(disks []truenas.PhysicalDisk) map[string]string {
	kinds := map[string]string{}
	for _, d := range disks {
		kind := map[string]string{"SSD": placement.Flash, "HDD": placement.Rust}[d.Type]
		switch was, seen := kinds[d.Pool]; {
		case kind == "":
			kinds[d.Pool] = placement.Unknown
		case !seen:
			kinds[d.Pool] = kind
		case was != placement.Unknown && was != kind:
			kinds[d.Pool] = placement.Mixed
		}
	}
	return kinds
}

// placeImage sets the tree of an image: on the requested pool, or on a chosen one.
func (s *Server) placeImage(ctx context.Context, hint string, i *spec.Image) error {
	const field = "storage_hint"
	if !s.chooses() {
		return nil
	}
	if hint != "" {
		return s.allowPool(field, hint)
	}
	found, err := s.readCandidates(ctx, i.Key)
	if err != nil {
		return err
	}
	pool, err := s.choosePool(ctx, field, found, i.Key)
	if err == nil {
		i.Root = s.layout.Root(pool)
	}
	return err
}

// allowPool refuses a pool that the operator does not allow.
func (s *Server) allowPool(field, pool string) error {
	if !s.chooses() || slices.Contains(s.cfg.AllowedPools, pool) {
		return nil
	}
	return refusal.InvalidArgument(field, "%q is not one of the pools of the setting storage.allowed_pools, which has %q", pool, s.cfg.AllowedPools)
}

// allowHome refuses a new VM on a pool that the operator does not allow. An existing VM stays usable when the setting changes.
func (s *Server) allowHome(want spec.VM, seen *observation, id string) error {
	_, begun := seen.datasets[s.layout.VMDataset(want.Pool, want.OnNAS())]
	if begun || slices.ContainsFunc(seen.vms, func(vm truenas.VM) bool { return vm.UUID == id }) {
		return nil
	}
	return s.allowPool("placement_json.Datastore", spec.PoolOf(s.layout.Root(want.Pool)))
}
