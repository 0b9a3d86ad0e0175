package diskio

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// User properties of an import's volume. Its state is "ready" once it is completely written.
const (
	PropState  = "virtrigaud:state"
	StateReady = "ready"
	PropFile   = "virtrigaud:file" // the source file of an unfinished volume
)

// checksumType is the type of the checksums of migrations.
const checksumType = "sha256"

// Import lands a staged disk as a volume that the next Create attaches. The import is complete when Import returns, since the
// manager takes an error for a failed migration and waits for a task forever. A repeated call recognises its earlier work by the
// checksum, resumes a conversion that is still running or ended meanwhile, and discards other unfinished work.
func (m *Mover) Import(ctx context.Context, req *providerv1.ImportDiskRequest) (*providerv1.ImportDiskResponse, error) {
	i, err := m.parseImport(req)
	if err != nil {
		return nil, err
	}
	if err := m.permit("source_url"); err != nil {
		return nil, err
	}
	unlock, err := m.locks.Lock(ctx, i.Dataset)
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := i.Observe(ctx)
	if err != nil {
		return nil, err
	}
	if err := i.admit(st); err != nil {
		return nil, err
	}
	if err := i.finish(ctx, st); err != nil {
		return nil, err
	}
	return i.answer(ctx)
}

// diskImport is one disk to import.
type diskImport struct {
	mover *Mover
	landing.Place
	source disk.Source
	origin string // identifies the staged disk
	owner  string // the uid of the disk's owner; empty: unknown
}

func (m *Mover) parseImport(req *providerv1.ImportDiskRequest) (*diskImport, error) {
	if err := spec.CheckName("target_name", req.GetTargetName()); err != nil {
		return nil, err
	}
	if hint := req.GetStorageHint(); hint != "" && !spec.ValidPool(hint) {
		return nil, refusal.InvalidArgument("storage_hint", "%q is not the name of a pool", hint)
	}
	format, err := parseStagedFormat(req.GetFormat(), ImportFormats)
	if err != nil {
		return nil, err
	}
	from, err := parseStaged("source_url", req.GetSourceUrl(), req)
	if err != nil {
		return nil, err
	}
	i := &diskImport{mover: m, Place: m.importPlace(req.GetStorageHint(), req.GetTargetVm().GetNamespace(), req.GetTargetName()), origin: from.lasting(), owner: req.GetTargetVm().GetUid()}
	i.source = disk.Source{URL: from.url, Format: format, ChecksumType: checksumType, S3: from.s3, Credentials: from.creds}
	if req.GetVerifyChecksum() {
		_, sum, prefixed := strings.Cut(req.GetExpectedChecksum(), ":")
		if !prefixed {
			sum = req.GetExpectedChecksum()
		}
		i.source.Checksum = strings.ToLower(sum)
	}
	return i, nil
}

// Observe reads the state of the place. A property of the volume records that it is ready.
func (i *diskImport) Observe(ctx context.Context) (landing.State, error) {
	st, err := i.mover.lander.Observe(ctx, i.Place)
	st.Ready = st.Volume != nil && st.Volume.LocalUserProperties[PropState] == StateReady
	return st, err
}

// admit refuses a place that belongs to another object.
func (i *diskImport) admit(st landing.State) error {
	if st.Pool == nil {
		return refusal.FailedPrecondition("storage_hint: the NAS has no pool %q", spec.PoolOf(i.Dataset))
	}
	if st.Dataset == nil {
		return nil
	}
	props := st.Dataset.LocalUserProperties
	switch {
	case props[spec.PropProvider] != i.mover.provider, props[spec.PropName] != i.Name: // A parent dataset may give it the provider's id, but not the name.
		return refusal.AlreadyExists("target_name: dataset %s exists and was not made by this provider", i.Dataset)
	case i.owner != "" && props[spec.PropOwner] != "" && props[spec.PropOwner] != i.owner:
		return refusal.AlreadyExists("target_name: %s was imported for another virtual machine of that name", i.Dataset)
	}
	return nil
}

// finish does the remaining work.
func (i *diskImport) finish(ctx context.Context, st landing.State) error {
	if i.Done(st) {
		return i.mover.lander.DropLeft(ctx, st, i.Observe)
	}
	if resumed, err := i.resume(ctx, st); resumed || err != nil {
		return err
	}
	// Refuse an object in use before the download.
	if err := i.MayClear(ctx, st); err != nil {
		return err
	}
	log := i.mover.log.With(zap.String("import", i.Name))
	source := i.source
	source.Progress = disk.EveryPercent(10, func(p disk.Progress) { log.Info("importing disk", zap.Stringer("progress", p)) })
	err := i.attempt().Fetch(ctx, source, i.mover.opener.OpenStaged)
	if err != nil && !truenas.Transient(err) {
		return errors.Join(err, i.discard(ctx))
	}
	return err
}

// attempt is one attempt to land the disk.
func (i *diskImport) attempt() *landing.Landing {
	l := i.mover.lander.At(i.Place, i)
	l.Late = true // A staged disk that never arrives leaves no object.
	return l
}

// discard removes a volume that will never be complete, unless it is in use.
func (i *diskImport) discard(ctx context.Context) error {
	ctx, cancel := i.mover.leases.Undoing(ctx)
	defer cancel()
	st, err := i.Observe(ctx)
	if err != nil || st.Dataset == nil || st.Ready || st.Staging != nil || i.MayClear(ctx, st) != nil {
		return err // A refusal was reported before.
	}
	return destroy.Dataset(ctx, i.mover.nas, i.Dataset)
}

// resume continues an import whose process died during the conversion: the complete disk had arrived and was verified by then.
func (i *diskImport) resume(ctx context.Context, st landing.State) (bool, error) {
	if st.Volume == nil || st.Ready || !i.same(st) || st.Staging != nil && i.mover.leases.Alive(st.Staging) {
		return false, nil
	}
	file := st.Volume.LocalUserProperties[PropFile]
	if file == "" {
		return false, nil
	}
	jobs, err := i.mover.lander.Conversions(ctx, file)
	if err != nil || len(jobs) == 0 {
		return false, err
	}
	if _, err := i.mover.nas.Jobs.Wait(ctx, jobs[len(jobs)-1].ID, nil); err != nil {
		return false, ctx.Err() // The caller repeats the import.
	}
	if err := i.Seal(ctx, nil, 0); err != nil {
		return false, err
	}
	return true, i.mover.lander.DropLeft(ctx, st, i.Observe)
}

// same reports whether the volume is that of this import, complete or not.
func (i *diskImport) same(st landing.State) bool {
	props := st.Volume.LocalUserProperties
	if props[spec.PropSource] != i.origin {
		return false
	}
	return i.source.Checksum == "" || props[spec.PropChecksum] == checksumType+":"+i.source.Checksum
}

// Done recognizes a finished import by its checksum. Without a checksum the staged disk may have changed since it was read.
func (i *diskImport) Done(st landing.State) bool {
	return st.Ready && i.source.Checksum != "" && i.same(st)
}

// Marks returns the properties of the dataset of the import.
func (i *diskImport) Marks() map[string]string {
	props := map[string]string{spec.PropProvider: i.mover.provider, spec.PropName: i.Name}
	if i.owner != "" {
		props[spec.PropOwner] = i.owner
	}
	return props
}

// VolumeMarks returns the properties of the volume, which identify it to a repeated import.
func (i *diskImport) VolumeMarks(img *disk.Image, file string) map[string]string {
	return map[string]string{
		spec.PropProvider: i.mover.provider, spec.PropSource: i.origin, spec.PropFormat: string(img.Format),
		spec.PropChecksum: checksumType + ":" + img.Sum, spec.PropBytes: strconv.FormatInt(img.VirtualBytes, 10), PropFile: file,
	}
}

// MayClear refuses to discard a disk that a VM uses or that has clones.
func (i *diskImport) MayClear(ctx context.Context, st landing.State) error {
	if st.Volume == nil {
		return nil
	}
	vms, err := i.mover.nas.VMs.List(ctx)
	if err != nil {
		return err
	}
	if users := vmrecord.UsersOf(vms, i.Dataset, -1); len(users) > 0 {
		return refusal.Withheld(refusal.FailedPrecondition("target_name: %s is a disk of VM %q already and is not overwritten; delete that VM first", i.Volume(), users[0]), "target_name: the disk is in use by a VM and is not overwritten")
	}
	clones, err := i.mover.marks.Clones(ctx, []string{i.Dataset})
	if err != nil {
		return err
	}
	if len(clones) > 0 {
		return refusal.FailedPrecondition("target_name: %s has the clone %s and is not overwritten; delete that first", i.Volume(), clones[0].ID)
	}
	return nil
}

// Seal marks the volume as complete. A repeated call is harmless.
func (i *diskImport) Seal(ctx context.Context, _ *disk.Image, _ int64) error {
	_, err := i.mover.nas.Datasets.Update(ctx, i.Volume(), truenas.DatasetUpdate{
		SetUserProperties: map[string]string{PropState: StateReady}, RemoveUserProperties: []string{PropFile},
	})
	return err
}

// answer returns the response with the state of the disk on the NAS.
func (i *diskImport) answer(ctx context.Context) (*providerv1.ImportDiskResponse, error) {
	st, err := i.Observe(ctx)
	if err != nil {
		return nil, err
	}
	if !st.Ready {
		return nil, refusal.Aborted("target_name: %s was removed while it was imported", i.Volume())
	}
	_, sum, _ := strings.Cut(st.Volume.LocalUserProperties[spec.PropChecksum], ":")
	size, err := strconv.ParseInt(st.Volume.LocalUserProperties[spec.PropBytes], 10, 64)
	if err != nil {
		return nil, errors.Join(refusal.Aborted("target_name: %s has no recorded size", i.Volume()), err)
	}
	return &providerv1.ImportDiskResponse{DiskId: i.Volume(), Path: i.Volume(), ActualSizeBytes: size, Checksum: sum}, nil
}
