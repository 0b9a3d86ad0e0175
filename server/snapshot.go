package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
)

// User properties of snapshots.
const (
	propDescription = "virtrigaud:description"
	propToken       = "virtrigaud:request-token" // of the request that made it
)

// maxToken is the longest request token, in bytes. Managers send the uid of an object.
const maxToken = 253

// maxDescription is the longest description of a snapshot, in bytes; ZFS keeps up to 8 KiB.
const maxDescription = 4096

// SnapshotCreate freezes all disks of a VM at one moment, without their memory. The same request
// repeated is one snapshot. A request is known by its token, and without one, as of managers before
// line 0.4, by the name.
func (s *Server) SnapshotCreate(ctx context.Context, req *providerv1.SnapshotCreateRequest) (*providerv1.SnapshotCreateResponse, error) {
	name, err := parseSnapshot(req)
	if err != nil {
		return nil, err
	}
	vm, unlock, err := s.own(ctx, req.GetVmId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	trees, err := s.trees(vm)
	if err != nil {
		return nil, err
	}
	if len(trees) > 1 && active(vm) {
		return nil, conflict("the disks of VM %q lie in %d datasets, so a snapshot of them is of one moment only while the VM is off", displayName(vm), len(trees))
	}
	props := map[string]string{propProvider: s.cfg.ID, propMachine: vm.UUID}
	if req.GetRequestToken() != "" {
		props[propToken] = req.GetRequestToken()
	}
	if req.GetDescription() != "" {
		props[propDescription] = req.GetDescription()
	}
	for _, tree := range trees {
		if err := s.freeze(ctx, tree, name, props); err != nil {
			return nil, err
		}
	}
	return &providerv1.SnapshotCreateResponse{SnapshotId: name}, nil
}

func parseSnapshot(req *providerv1.SnapshotCreateRequest) (name string, err error) {
	switch {
	case req.GetIncludeMemory():
		return "", invalid("include_memory", "TrueNAS has no snapshots of memory")
	case len(req.GetRequestToken()) > maxToken:
		return "", invalid("request_token", "has %d bytes; at most %d are allowed", len(req.GetRequestToken()), maxToken)
	case len(req.GetDescription()) > maxDescription:
		return "", invalid("description", "has %d bytes; at most %d are allowed", len(req.GetDescription()), maxDescription)
	}
	if err := checkName("name_hint", req.GetNameHint()); err != nil {
		return "", err
	}
	return nasName(req.GetNameHint()), nil
}

// freeze takes one recursive snapshot. One of this name that is there is ours from an earlier
// attempt, or somebody else's.
func (s *Server) freeze(ctx context.Context, tree, name string, props map[string]string) error {
	_, err := s.nas.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: tree, Name: name, Recursive: true, UserProperties: props})
	if !errors.Is(err, truenas.ErrExists) {
		return err
	}
	was, err := s.nas.Snapshots.Get(ctx, tree+"@"+name)
	if err != nil {
		return err
	}
	if was.UserProperties[propProvider] != s.cfg.ID {
		return taken("snapshot %s exists and was not made by this provider", was.ID)
	}
	if token := props[propToken]; token != "" && was.UserProperties[propToken] != token {
		return taken("name_hint: the VM has a snapshot %s that another request made; choose another name", name)
	}
	return nil
}

// SnapshotDelete removes a snapshot. One that is not there is success; one that something was
// cloned from says what.
func (s *Server) SnapshotDelete(ctx context.Context, req *providerv1.SnapshotDeleteRequest) (*providerv1.TaskResponse, error) {
	vm, unlock, err := s.own(ctx, req.GetVmId())
	if errors.Is(err, truenas.ErrNotFound) {
		return &providerv1.TaskResponse{}, nil // Its snapshots went with it.
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	trees, err := s.trees(vm)
	if err != nil {
		return nil, err
	}
	name := req.GetSnapshotId()
	if err := checkSnapshotID(name); err != nil {
		return nil, err
	}
	clones, err := s.clonesOf(ctx, trees)
	if err != nil {
		return nil, unchecked(err)
	}
	for _, c := range clones {
		if strings.HasSuffix(c.Origin, "@"+name) {
			return nil, inUse("snapshot %s has the clone %s; delete that first", c.Origin, c.ID)
		}
	}
	for _, tree := range trees {
		if err := deleteSnapshot(ctx, s.nas, tree+"@"+name, truenas.SnapshotDelete{Recursive: true}); err != nil {
			return nil, err
		}
	}
	return &providerv1.TaskResponse{}, nil
}

// checkSnapshotID takes only what SnapshotCreate could have answered.
func checkSnapshotID(id string) error {
	if id == "" || len(id) > maxNasName || strings.ContainsAny(id, "/@ ") {
		return invalid("snapshot_id", "%q is no id of a snapshot", id)
	}
	return nil
}

// SnapshotRevert puts a VM's disks back to a snapshot. The VM has to be off: TrueNAS itself does
// not check, and a running guest would write its old memory over the disks. Newer snapshots would
// be destroyed by it, so they are named and nothing is done.
func (s *Server) SnapshotRevert(ctx context.Context, req *providerv1.SnapshotRevertRequest) (*providerv1.TaskResponse, error) {
	vm, unlock, err := s.own(ctx, req.GetVmId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if vm.Status.State != truenas.StateStopped {
		return nil, conflict("VM %q is %s; power it off before it is reverted", displayName(vm), vm.Status.State)
	}
	if err := checkSnapshotID(req.GetSnapshotId()); err != nil {
		return nil, err
	}
	if err := s.surelyOff(ctx, vm); err != nil {
		return nil, err
	}
	targets, err := s.revertible(ctx, vm, req.GetSnapshotId())
	if err != nil {
		return nil, err
	}
	for _, id := range targets {
		if err := s.nas.Snapshots.Rollback(ctx, id, truenas.RollbackOptions{}); err != nil {
			return nil, fmt.Errorf("reverting to %s: %w", id, err)
		}
	}
	return &providerv1.TaskResponse{}, nil
}

// revertible lists the snapshots to go back to, one for each disk that had it. A disk that was
// added later stays as it is.
func (s *Server) revertible(ctx context.Context, vm truenas.VM, name string) ([]string, error) {
	var volumes []string
	for _, volume := range disksOf(vm) {
		if _, ok := s.ownTreeOf(vm, volume); ok {
			volumes = append(volumes, volume)
		}
	}
	if len(volumes) == 0 {
		return nil, conflict("VM %q has no disks of this provider's", displayName(vm))
	}
	all, err := s.nas.Snapshots.List(ctx, truenas.Cond("dataset", "in", volumes))
	if err != nil {
		return nil, err
	}
	byVolume := map[string]truenas.Snapshot{}
	for _, snap := range all {
		if snap.Name == name {
			byVolume[snap.Dataset] = snap
		}
	}
	if len(byVolume) == 0 {
		return nil, fmt.Errorf("snapshot %q of VM %q: %w", name, displayName(vm), truenas.ErrNotFound)
	}
	var targets []string
	for _, snap := range all {
		target, ok := byVolume[snap.Dataset]
		if ok && snap.CreateTXG > target.CreateTXG {
			return nil, conflict("snapshot %s is newer than %s and would be destroyed; delete it first", snap.ID, target.ID)
		}
		if ok && snap.Name == name {
			targets = append(targets, snap.ID)
		}
	}
	return targets, nil
}

// own takes its turn on a VM that this provider made, and reads it from the NAS.
func (s *Server) own(ctx context.Context, id string) (truenas.VM, func(), error) {
	id, err := canonicalID(id)
	if err != nil {
		return truenas.VM{}, nil, err
	}
	unlock, err := s.locks.lock(ctx, id)
	if err != nil {
		return truenas.VM{}, nil, err
	}
	vm, err := s.inventory.current(ctx, id)
	if err == nil {
		err = cmp.Or(s.certify(ctx, vm), s.mayDestroy(vm), s.whole(vm))
	}
	if err != nil {
		unlock()
	}
	return vm, unlock, err
}
