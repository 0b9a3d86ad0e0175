package diskio

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strings"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// Export writes the current state of a disk, or a snapshot of it, to a staging place. The VM may run, and the copy then has the
// state after a power failure. The NAS makes an image of a temporary clone, and the provider sends it to the staging place. Export
// returns when the export is complete, because the manager takes an error for a failed migration and waits for a task forever. A
// repeated call writes the object again.
func (m *Mover) Export(ctx context.Context, req *providerv1.ExportDiskRequest) (*providerv1.ExportDiskResponse, error) {
	e, err := m.parseExport(ctx, req)
	if err != nil {
		return nil, err
	}
	unlock, err := m.locks.Lock(ctx, e.staging)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := m.dropExports(ctx, e.root, e.staging); err != nil {
		return nil, err
	}
	release, err := e.lease(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := e.run(ctx)
	if e.taken && errors.Is(err, truenas.ErrNotFound) {
		err = fmt.Errorf("another replica removed the export's staging dataset (%v): %w", err, truenas.ErrBusy) //nolint:errorlint // Only ErrBusy decides about a retry.
	}
	if cleaning := release(); err == nil && cleaning != nil {
		// The object is complete and stays; the next export removes the staging dataset.
		m.log.Warn("removal of an export's staging dataset failed", zap.String("dataset", e.staging), zap.Error(cleaning))
	} else {
		err = errors.Join(err, cleaning)
	}
	return resp, err
}

// diskExport is one disk to export.
type diskExport struct {
	mover    *Mover
	vm       truenas.VM
	id       string // equal for equal requests
	root     string // the tree on the disk's pool
	staging  string // the dataset of the clone and of the image that the NAS makes of it
	volume   string // the disk's volume
	snapshot string // the snapshot to export
	taken    bool   // this export took the snapshot and removes it
	bytes    int64  // the size of the disk
	format   disk.Format
	compress bool
	to       disk.Destination
}

// PropSnapshot is the user property of an export's staging dataset that names the snapshot taken for the export, which is removed
// with it.
const PropSnapshot = "virtrigaud:snapshot"

// ExportSnapshot is the prefix of snapshots that were taken for an export.
const ExportSnapshot = "vrexport-"

func (m *Mover) parseExport(ctx context.Context, req *providerv1.ExportDiskRequest) (*diskExport, error) {
	format, err := parseStagedFormat(req.GetFormat(), ExportFormats)
	if err != nil {
		return nil, err
	}
	if format == "" {
		format = ExportFormats[0]
	}
	to, err := parseStaged("destination_url", req.GetDestinationUrl(), req)
	if err != nil {
		return nil, err
	}
	if req.GetSnapshotId() != "" {
		if err := spec.CheckSnapshotID(req.GetSnapshotId()); err != nil {
			return nil, err
		}
	}
	if req.GetCompress() && format == string(disk.Raw) {
		return nil, refusal.InvalidArgument("compress", "a raw image cannot be compressed; request qcow2 or vmdk")
	}
	if err := m.permit("destination_url"); err != nil {
		return nil, err
	}
	vm, err := m.current(ctx, req.GetVmId())
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(m.marks.Identify(ctx, vm), m.checkComplete(vm)); err != nil {
		return nil, err
	}
	volume, _, err := m.diskOf(vm, req.GetDiskId())
	if err != nil {
		return nil, err
	}
	e := &diskExport{mover: m, vm: vm, volume: volume, root: m.layout.Root(spec.PoolOf(volume)), format: disk.Format(format), compress: req.GetCompress(),
		to: disk.Destination{URL: to.url, Credentials: to.creds, S3: to.s3},
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{vm.UUID, volume, req.GetSnapshotId(), to.lasting()}, "\x00")))
	e.id = hex.EncodeToString(sum[:8])
	e.staging = e.root + spec.StagingFolder + ExportFolder + e.id
	e.snapshot, e.taken = volume+"@"+req.GetSnapshotId(), req.GetSnapshotId() == ""
	if e.taken {
		e.snapshot += ExportSnapshot + e.id
	}
	return e, nil
}

// run makes the image on the NAS and sends it.
func (e *diskExport) run(ctx context.Context) (*providerv1.ExportDiskResponse, error) {
	if err := e.clone(ctx); err != nil {
		return nil, err
	}
	up, err := e.write(ctx)
	if err != nil {
		return nil, err
	}
	return &providerv1.ExportDiskResponse{ExportId: e.id, EstimatedSizeBytes: up.Bytes(), Checksum: up.Sum()}, nil
}

// clone makes a temporary clone of the snapshot, because TrueNAS makes no image of a volume of a running VM, and a stopped VM may
// start meanwhile.
func (e *diskExport) clone(ctx context.Context) error {
	if e.taken {
		if err := e.freeze(ctx); err != nil {
			return err
		}
	}
	snapshot, err := e.mover.nas.Snapshots.Get(ctx, e.snapshot)
	if err != nil {
		return fmt.Errorf("snapshot %s: %w", e.snapshot, err)
	}
	if snapshot.VolsizeBytes == 0 {
		return refusal.FailedPrecondition("snapshot %s is not one of a volume", e.snapshot)
	}
	e.bytes = snapshot.VolsizeBytes
	pool, err := e.mover.nas.Datasets.Get(ctx, spec.PoolOf(e.volume))
	if err != nil {
		return err
	}
	if snapshot.ReferencedBytes > pool.AvailableBytes {
		return refusal.New(codes.ResourceExhausted, "no space: an image of %s needs about %d MiB during the export, and pool %q has %d MiB available", e.volume, snapshot.ReferencedBytes>>20, pool.ID, pool.AvailableBytes>>20)
	}
	// An existing clone is that of an earlier attempt, whose call took effect late. It may be of another moment, and is removed
	// with the lease.
	return landing.TakenOver(e.mover.nas.Snapshots.Clone(ctx, e.snapshot, e.cloned(), nil))
}

// freeze takes the temporary snapshot, under the lock of the VM.
func (e *diskExport) freeze(ctx context.Context) error {
	unlock, err := e.mover.locks.Lock(ctx, e.vm.UUID)
	if err != nil {
		return err
	}
	defer unlock()
	_, name, _ := strings.Cut(e.snapshot, "@")
	create := truenas.SnapshotCreate{Dataset: e.volume, Name: name, UserProperties: map[string]string{spec.PropProvider: e.mover.provider}}
	_, err = e.mover.nas.Snapshots.Create(ctx, create)
	if errors.Is(err, truenas.ErrExists) { // It is the snapshot of an earlier attempt, and of an earlier moment.
		if err = destroy.Snapshot(ctx, e.mover.nas, e.snapshot); err == nil {
			_, err = e.mover.nas.Snapshots.Create(ctx, create)
		}
	}
	return err
}

func (e *diskExport) cloned() string { return path.Join(e.staging, "disk") }

// extract lets the NAS make an image of the clone.
func (e *diskExport) extract(ctx context.Context, format disk.Format) (file string, err error) {
	file = fmt.Sprintf("/mnt/%s/disk.%s", e.staging, format)
	begin := func(ctx context.Context) (truenas.JobID, error) {
		return e.mover.nas.Devices.Convert(ctx, spec.ZvolPath(e.cloned()), file)
	}
	if !e.mover.nas.Release().AtLeast(truenas.R25_10) {
		file = fmt.Sprintf("/mnt/%s/vmdisk-disk.%s", e.staging, format)
		begin = func(ctx context.Context) (truenas.JobID, error) {
			return e.mover.nas.VMs.ExportDiskImage(ctx, e.cloned(), "/mnt/"+e.staging, string(format))
		}
	}
	if err := e.mover.lander.Convert(ctx, begin); err != nil {
		return "", fmt.Errorf("making an image of %s: %w", e.volume, err)
	}
	return file, nil
}

// lease creates the staging dataset, which one process at a time can do.
func (e *diskExport) lease(ctx context.Context) (release func() error, err error) {
	for {
		var more map[string]string
		if e.taken {
			more = map[string]string{PropSnapshot: e.snapshot}
		}
		err := e.mover.leases.Make(ctx, e.staging, vmrecord.Name(e.vm), more)
		if err == nil {
			break
		}
		if !errors.Is(err, truenas.ErrExists) {
			return nil, err
		}
		if blocked := lease.FolderFor(ctx, e.mover.nas, e.staging); blocked != nil {
			return nil, blocked
		}
		if err := e.mover.dropExports(ctx, e.root, e.staging); err != nil {
			return nil, err
		}
		if err := lease.Sleep(ctx, e.mover.leases.Age()/30); err != nil {
			return nil, err
		}
	}
	return e.mover.leases.Heartbeat(ctx, e.staging, func(ctx context.Context) error {
		if err := e.mover.lander.Settle(ctx, e.cloned()); err != nil || !e.taken {
			return err
		}
		return e.mover.dropTaken(ctx, e.staging, e.snapshot)
	}), nil
}

// dropTaken removes a temporary snapshot with the clone that depends on it. The staging dataset names the snapshot and goes last,
// so that another process can find unfinished work.
func (m *Mover) dropTaken(ctx context.Context, staging, snapshot string) error {
	if err := destroy.Dataset(ctx, m.nas, path.Join(staging, "disk")); err != nil {
		return err
	}
	return destroy.RetryBusy(ctx, func() error { return destroy.Snapshot(ctx, m.nas, snapshot) })
}

// ExportFolder is the prefix of the exports' staging datasets.
const ExportFolder = "export-"

// dropExports removes the leftovers of exports whose process has ended, with the snapshots that were taken for them. own is the
// dataset that the caller has locked; dropExports skips other datasets with an export in progress in this process. DropExport
// removes the leftovers of one export.
func (m *Mover) dropExports(ctx context.Context, root, own string) error {
	list, err := m.nas.Datasets.List(ctx, truenas.Cond("id", "^", root+spec.StagingFolder+ExportFolder), truenas.Where("type", truenas.Filesystem))
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.LocalUserProperties[spec.PropProvider] != m.provider || m.leases.Alive(&d) || d.ID != own && m.locks.Taken(d.ID) {
			continue
		}
		if err := m.DropExport(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// DropExport removes the leftovers of one export.
func (m *Mover) DropExport(ctx context.Context, staging truenas.Dataset) error {
	if err := m.lander.Settle(ctx, path.Join(staging.ID, "disk")); err != nil {
		return err
	}
	snapshot := staging.LocalUserProperties[PropSnapshot]
	if volume, name, _ := strings.Cut(snapshot, "@"); volume != "" && strings.HasPrefix(name, ExportSnapshot) {
		if err := m.dropTaken(ctx, staging.ID, snapshot); err != nil {
			return err
		}
	}
	return destroy.Dataset(ctx, m.nas, staging.ID)
}
