package diskio

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// Info returns the size and the snapshots of one disk, as the NAS reports them. An empty disk_id selects the root disk of
// the VM; otherwise it is a device's number, as in ListVMs, the volume's name or its path.
func (m *Mover) Info(ctx context.Context, req *providerv1.GetDiskInfoRequest) (*providerv1.GetDiskInfoResponse, error) {
	vm, err := m.current(ctx, req.GetVmId())
	if err != nil {
		return nil, err
	}
	volume, device, err := m.diskOf(vm, req.GetDiskId())
	if err != nil {
		return nil, err
	}
	var dataset truenas.Dataset
	var snapshots []string
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { dataset, err = m.nas.Datasets.Get(gctx, volume); return })
	g.Go(func() (err error) { snapshots, err = m.nas.Snapshots.Names(gctx, volume); return })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	info := &providerv1.GetDiskInfoResponse{
		DiskId: strconv.FormatInt(device.ID, 10), Format: "raw", Path: volume,
		VirtualSizeBytes: dataset.VolsizeBytes, ActualSizeBytes: dataset.UsedByDatasetBytes,
		IsBootable: volume == m.layout.RootVolume(vmrecord.Disks(vm)), BackingFile: dataset.Origin,
		Metadata: map[string]string{"pool": dataset.Pool, "used_bytes": strconv.FormatInt(dataset.UsedBytes, 10), "volblocksize_bytes": strconv.FormatInt(dataset.VolBlockSizeBytes, 10)},
	}
	for _, id := range snapshots {
		info.Snapshots = append(info.Snapshots, strings.TrimPrefix(id, volume+"@"))
	}
	return info, m.checkDiskSnapshot(ctx, info, req.GetSnapshotId())
}

// checkDiskSnapshot returns the facts of a snapshot in place of the disk's.
func (m *Mover) checkDiskSnapshot(ctx context.Context, info *providerv1.GetDiskInfoResponse, name string) error {
	if name == "" {
		return nil
	}
	if !slices.Contains(info.GetSnapshots(), name) {
		return fmt.Errorf("snapshot %q of disk %s: %w", name, info.GetPath(), truenas.ErrNotFound)
	}
	found, err := m.nas.Snapshots.Get(ctx, info.GetPath()+"@"+name)
	if err != nil {
		return err
	}
	info.Path, info.VirtualSizeBytes, info.ActualSizeBytes = found.ID, found.VolsizeBytes, found.ReferencedBytes
	return nil
}

// diskOf finds one disk of a VM. An empty id is the root disk, also while a user has put another disk before it in the boot order. An
// id that fits two disks is refused.
func (m *Mover) diskOf(vm truenas.VM, id string) (volume string, device truenas.Device, err error) {
	disks := vmrecord.Disks(vm)
	if len(disks) == 0 {
		return "", device, refusal.FailedPrecondition("VM %q has no disks", vmrecord.Name(vm))
	}
	if id == "" {
		id = m.layout.RootVolume(disks)
	}
	for _, d := range vm.Devices {
		found := spec.VolumeOf(d.Attributes.Path)
		if found == "" || d.Attributes.DType != truenas.DeviceDisk {
			continue
		}
		switch {
		case id == found || id == d.Attributes.Path:
			return found, d, nil
		case id != strconv.FormatInt(d.ID, 10) && id != path.Base(found):
			continue
		case volume != "":
			return "", device, refusal.InvalidArgument("disk_id", "%q is disk %s and disk %s of VM %q; give the path of the volume", id, volume, found, vmrecord.Name(vm))
		}
		volume, device = found, d
	}
	if volume == "" {
		err = fmt.Errorf("disk %q of VM %q: %w", id, vmrecord.Name(vm), truenas.ErrNotFound)
	}
	return volume, device, err
}
