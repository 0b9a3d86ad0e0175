package server

import (
	"cmp"
	"context"
	"errors"
	"path"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// User properties of snapshots.
const (
	propDescription = "virtrigaud:description"
	propToken       = "virtrigaud:request-token" // the token of the request that took it
	propTrees       = "virtrigaud:datasets"      // the datasets of all its parts, if there are several
)

// maxToken is the longest request token, in bytes. Managers send the uid of an object.
const maxToken = 253

// maxDescription is the longest description of a snapshot, in bytes; ZFS keeps up to 8 KiB.
const maxDescription = 4096

// SnapshotCreate takes a snapshot of all disks of a VM at one moment, without memory. A repeated request returns the same
// snapshot. The token identifies a request, or the name for managers before line 0.4, which send no token.
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
	trees, err := s.marks.Trees(vm)
	if err != nil {
		return nil, err
	}
	if err := s.onOnePool(vm, "a snapshot of the VM"); err != nil {
		return nil, err
	}
	if len(trees) > 1 && vmrecord.Active(vm) {
		return nil, refusal.FailedPrecondition("VM %q is on, and TrueNAS cannot snapshot its disks, which lie in %d datasets, at one moment; power it off first", vmrecord.Name(vm), len(trees))
	}
	props := map[string]string{spec.PropProvider: s.cfg.ID, spec.PropVM: vm.UUID, propTaken: name}
	if req.GetRequestToken() != "" {
		props[propToken] = req.GetRequestToken()
	}
	if req.GetDescription() != "" {
		props[propDescription] = req.GetDescription()
	}
	if len(trees) > 1 {
		props[propTrees] = strings.Join(trees, ",")
		if complete, err := s.takenBefore(ctx, vm, trees, name, props); complete || err != nil {
			return &providerv1.SnapshotCreateResponse{SnapshotId: name}, err
		}
	}
	for _, tree := range trees {
		if err := s.freeze(ctx, vm, tree, name, props); err != nil {
			return nil, err
		}
	}
	return &providerv1.SnapshotCreateResponse{SnapshotId: name}, nil
}

// onOnePool refuses an operation that needs all disks of a VM at one moment when additional disks are on another pool: ZFS takes a
// snapshot within one pool.
func (s *Server) onOnePool(vm truenas.VM, what string) error {
	home := spec.PoolOf(s.home(vm))
	for _, volume := range vmrecord.Disks(vm) {
		if _, own := s.marks.OwnTree(vm, volume); own && s.layout.InVM(volume) && spec.PoolOf(volume) != home {
			return refusal.FailedPrecondition("disk %s of VM %q lies on pool %q and its root disk on pool %q, so %s cannot be of one moment: use snapshot tasks of TrueNAS for each pool, or move the data to a disk on pool %q",
				path.Base(volume), vmrecord.Name(vm), spec.PoolOf(volume), home, what, home)
		}
	}
	return nil
}

func parseSnapshot(req *providerv1.SnapshotCreateRequest) (name string, err error) {
	switch {
	case req.GetIncludeMemory():
		return "", refusal.InvalidArgument("include_memory", "TrueNAS has no snapshots of memory")
	case len(req.GetRequestToken()) > maxToken:
		return "", refusal.InvalidArgument("request_token", "has %d bytes; at most %d are allowed", len(req.GetRequestToken()), maxToken)
	case len(req.GetDescription()) > maxDescription:
		return "", refusal.InvalidArgument("description", "has %d bytes; at most %d are allowed", len(req.GetDescription()), maxDescription)
	}
	if err := spec.CheckName("name_hint", req.GetNameHint()); err != nil {
		return "", err
	}
	return spec.NASName(req.GetNameHint()), nil
}

// freeze takes one recursive snapshot. An existing snapshot of this name is that of an earlier attempt, or has another owner.
func (s *Server) freeze(ctx context.Context, vm truenas.VM, tree, name string, props map[string]string) error {
	_, err := s.nas.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: tree, Name: name, Recursive: true, UserProperties: props})
	if !errors.Is(err, truenas.ErrExists) {
		return err
	}
	was, err := s.nas.Snapshots.Get(ctx, tree+"@"+name)
	switch {
	case errors.Is(err, truenas.ErrNotFound):
		return refusal.AlreadyExists("a disk in %s has a snapshot %s that was not taken by this provider", tree, name)
	case err != nil:
		return err
	}
	return s.sameRequest(vm, was, name, props)
}

// sameRequest refuses an existing snapshot that another client, or another request, took.
func (s *Server) sameRequest(vm truenas.VM, was truenas.Snapshot, name string, props map[string]string) error {
	if !s.tookOf(vm, was) {
		return refusal.AlreadyExists("snapshot %s exists and was not taken by this provider for VM %q", was.ID, vmrecord.Name(vm))
	}
	if token := props[propToken]; token != "" && was.UserProperties[propToken] != token {
		return refusal.AlreadyExists("name_hint: the VM has a snapshot %s that another request made; choose another name", name)
	}
	return nil
}

// own locks a VM that this provider made in this process, and reads it from the NAS.
func (s *Server) own(ctx context.Context, id string) (truenas.VM, func(), error) {
	id, err := canonicalID(id)
	if err != nil {
		return truenas.VM{}, nil, err
	}
	unlock, err := s.locks.Lock(ctx, id)
	if err != nil {
		return truenas.VM{}, nil, err
	}
	vm, err := s.inventory.Read(ctx, id)
	if err == nil {
		err = cmp.Or(s.marks.Certify(ctx, vm), s.mayDestroy(vm), s.checkComplete(vm))
	}
	if err != nil {
		unlock()
	}
	return vm, unlock, err
}
