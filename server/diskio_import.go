package server

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// User properties of an import's volume. Its state is "ready" once all of it was written.
const (
	propState  = "virtrigaud:state"
	stateReady = "ready"
	propFile   = "virtrigaud:file" // what an unfinished one is written from
)

// checksumType is what migrations are verified with.
const checksumType = "sha256"

// ImportDisk lands a staged disk as a volume that the next Create attaches. It is done when it
// answers, since the manager takes an error for a failed migration and waits for a task for
// ever. Asked again it recognises its own work by the checksum, takes up a conversion that is
// still running or that ended meanwhile, and throws away whatever else it finds half done.
func (s *Server) ImportDisk(ctx context.Context, req *providerv1.ImportDiskRequest) (*providerv1.ImportDiskResponse, error) {
	i, err := s.parseImport(req)
	if err != nil {
		return nil, err
	}
	if err := s.needUpload("source_url"); err != nil {
		return nil, err
	}
	unlock, err := s.locks.Lock(ctx, i.dataset)
	if err != nil {
		return nil, err
	}
	defer unlock()
	st, err := i.observe(ctx)
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
	s *Server
	place
	source disk.Source
	origin string // identifies the staged disk
	owner  string // the uid of the object that the disk is for; empty: unknown
}

func (s *Server) parseImport(req *providerv1.ImportDiskRequest) (*diskImport, error) {
	if err := spec.CheckName("target_name", req.GetTargetName()); err != nil {
		return nil, err
	}
	if hint := req.GetStorageHint(); hint != "" && !spec.ValidPool(hint) {
		return nil, refusal.InvalidArgument("storage_hint", "%q is not the name of a pool", hint)
	}
	format, err := parseStagedFormat(req.GetFormat(), importFormats)
	if err != nil {
		return nil, err
	}
	from, err := parseStaged("source_url", req.GetSourceUrl(), req)
	if err != nil {
		return nil, err
	}
	i := &diskImport{s: s, place: s.importPlace(req.GetStorageHint(), req.GetTargetVm().GetNamespace(), req.GetTargetName()), origin: from.lasting(), owner: req.GetTargetVm().GetUid()}
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

func (i *diskImport) observe(ctx context.Context) (landState, error) {
	st, err := i.s.observePlace(ctx, i.place)
	st.ready = st.volume != nil && st.volume.LocalUserProperties[propState] == stateReady
	return st, err
}

// admit refuses a place that is not this import's to fill.
func (i *diskImport) admit(st landState) error {
	if st.pool == nil {
		return refusal.FailedPrecondition("storage_hint: the NAS has no pool %q", spec.PoolOf(i.dataset))
	}
	if st.dataset == nil {
		return nil
	}
	props := st.dataset.LocalUserProperties
	switch {
	case props[spec.PropProvider] != i.s.cfg.ID, props[spec.PropName] != i.name: // A dataset above it may have the provider's id, and not the name.
		return refusal.AlreadyExists("target_name: dataset %s exists and was not made by this provider", i.dataset)
	case i.owner != "" && props[spec.PropOwner] != "" && props[spec.PropOwner] != i.owner:
		return refusal.AlreadyExists("target_name: %s was imported for another virtual machine of that name", i.dataset)
	}
	return nil
}

// finish does what is left to do.
func (i *diskImport) finish(ctx context.Context, st landState) error {
	if i.done(st) {
		return i.s.dropLeft(ctx, st, i.observe)
	}
	if resumed, err := i.resume(ctx, st); resumed || err != nil {
		return err
	}
	// What is in use is refused before anything is fetched.
	if err := i.mayClear(ctx, st); err != nil {
		return err
	}
	log := i.s.log.With(zap.String("import", i.name))
	source := i.source
	source.Progress = disk.EveryPercent(10, func(p disk.Progress) { log.Info("importing disk", zap.Stringer("progress", p)) })
	err := (&landing{s: i.s, place: i.place, purpose: i, late: true}).fetch(ctx, source, i.s.opener.OpenStaged)
	if err != nil && !truenas.Transient(err) {
		return errors.Join(err, i.discard(ctx))
	}
	return err
}

// discard removes a volume that was not finished and never will be.
func (i *diskImport) discard(ctx context.Context) error {
	ctx, cancel := i.s.leases.Undoing(ctx)
	defer cancel()
	st, err := i.observe(ctx)
	if err != nil || st.dataset == nil || st.ready || st.staging != nil {
		return err
	}
	return destroy.Dataset(ctx, i.s.nas, i.dataset)
}

// resume takes up an import whose process died while TrueNAS converted: all of the disk had
// arrived and was verified by then.
func (i *diskImport) resume(ctx context.Context, st landState) (bool, error) {
	if st.volume == nil || st.ready || !i.same(st) || st.staging != nil && i.s.leases.Alive(st.staging) {
		return false, nil
	}
	file := st.volume.LocalUserProperties[propFile]
	if file == "" {
		return false, nil
	}
	jobs, err := i.s.conversionsOf(ctx, file)
	if err != nil || len(jobs) == 0 {
		return false, err
	}
	if _, err := i.s.nas.Jobs.Wait(ctx, jobs[len(jobs)-1].ID, nil); err != nil {
		return false, ctx.Err() // The caller repeats the import.
	}
	if err := i.seal(ctx, nil, 0); err != nil {
		return false, err
	}
	return true, i.s.dropLeft(ctx, st, i.observe)
}

// same says whether the volume was made, or begun, of what is to be imported.
func (i *diskImport) same(st landState) bool {
	props := st.volume.LocalUserProperties
	if props[spec.PropSource] != i.origin {
		return false
	}
	return i.source.Checksum == "" || props[spec.PropChecksum] == checksumType+":"+i.source.Checksum
}

// done recognizes a finished import by its checksum. Without a checksum the staged disk may have changed since it was read.
func (i *diskImport) done(st landState) bool {
	return st.ready && i.source.Checksum != "" && i.same(st)
}

func (i *diskImport) marks() map[string]string {
	props := map[string]string{spec.PropProvider: i.s.cfg.ID, spec.PropName: i.name}
	if i.owner != "" {
		props[spec.PropOwner] = i.owner
	}
	return props
}

func (i *diskImport) volumeMarks(img *disk.Image, file string) map[string]string {
	return map[string]string{
		spec.PropProvider: i.s.cfg.ID, spec.PropSource: i.origin, spec.PropFormat: string(img.Format),
		spec.PropChecksum: checksumType + ":" + img.Sum, spec.PropBytes: strconv.FormatInt(img.VirtualBytes, 10), propFile: file,
	}
}

// mayClear never lets a disk go that a VM uses or that something was cloned from.
func (i *diskImport) mayClear(ctx context.Context, st landState) error {
	if st.volume == nil {
		return nil
	}
	vms, err := i.s.nas.VMs.List(ctx)
	if err != nil {
		return err
	}
	if users := vmrecord.UsersOf(vms, i.dataset, -1); len(users) > 0 {
		return refusal.Withheld(refusal.FailedPrecondition("target_name: %s is a disk of VM %q already and is not overwritten; delete that VM first", i.volume(), users[0]), "target_name: the disk is in use by a VM and is not overwritten")
	}
	clones, err := i.s.marks.Clones(ctx, []string{i.dataset})
	if err != nil {
		return err
	}
	if len(clones) > 0 {
		return refusal.FailedPrecondition("target_name: %s has the clone %s and is not overwritten; delete that first", i.volume(), clones[0].ID)
	}
	return nil
}

// seal marks the volume as whole. Doing it twice is harmless.
func (i *diskImport) seal(ctx context.Context, _ *disk.Image, _ int64) error {
	_, err := i.s.nas.Datasets.Update(ctx, i.volume(), truenas.DatasetUpdate{
		SetUserProperties: map[string]string{propState: stateReady}, RemoveUserProperties: []string{propFile},
	})
	return err
}

// answer is the response with the state of the disk on the NAS.
func (i *diskImport) answer(ctx context.Context) (*providerv1.ImportDiskResponse, error) {
	st, err := i.observe(ctx)
	if err != nil {
		return nil, err
	}
	if !st.ready {
		return nil, refusal.Aborted("target_name: %s was removed while it was imported", i.volume())
	}
	_, sum, _ := strings.Cut(st.volume.LocalUserProperties[spec.PropChecksum], ":")
	size, err := strconv.ParseInt(st.volume.LocalUserProperties[spec.PropBytes], 10, 64)
	if err != nil {
		return nil, errors.Join(refusal.Aborted("target_name: %s carries no size", i.volume()), err)
	}
	return &providerv1.ImportDiskResponse{DiskId: i.volume(), Path: i.volume(), ActualSizeBytes: size, Checksum: sum}, nil
}
