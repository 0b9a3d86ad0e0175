package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cenkalti/backoff/v5"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// methodCopy is TrueNAS's job that copies a disk.
const methodCopy = "replication.run_onetime"

// ensureCopy makes a volume a full copy. The copy carries its snapshot when it is complete.
func (b *builder) ensureCopy(ctx context.Context, d plannedDisk) error {
	if b.plan.attached(d) {
		return nil
	}
	source, name, _ := strings.Cut(d.copy, "@")
	if b.plan.exists {
		if complete, err := b.leftCopy(ctx, d, name); complete || err != nil {
			return err
		}
	}
	job, err := b.nas.Snapshots.Copy(ctx, source, name, d.volume, b.encrypted)
	if err != nil {
		return err
	}
	_, err = b.nas.Jobs.Wait(ctx, job, b.plan.progress(d.volume))
	if errors.Is(err, truenas.ErrAborted) {
		return b.afterAbort(ctx, d, name)
	}
	if err != nil {
		return fmt.Errorf("copying %s: %w", source, b.copiedMeanwhile(ctx, d, err))
	}
	return nil
}

// afterAbort waits for a copy whose job a user aborted, because TrueNAS continues to copy. The next attempt restarts an
// incomplete copy.
func (b *builder) afterAbort(ctx context.Context, d plannedDisk, name string) error {
	complete, err := b.copyEnds(ctx, d, name)
	if err == nil && !complete {
		err = fmt.Errorf("copying %s: the job was aborted: %w", d.copy, truenas.ErrBusy)
	}
	return err
}

// copyEnds waits until TrueNAS no longer copies onto a volume, and reports whether the copy is complete. It removes an
// incomplete copy. A complete copy has a snapshot, and ZFS refuses to destroy a dataset while it receives into it.
func (b *builder) copyEnds(ctx context.Context, d plannedDisk, name string) (complete bool, err error) {
	return backoff.Retry(ctx, func() (bool, error) {
		_, err := b.nas.Snapshots.Get(ctx, d.volume+"@"+name)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, truenas.ErrNotFound) {
			return false, backoff.Permanent(err)
		}
		err = destroy.BareDataset(ctx, b.nas, d.volume)
		switch {
		case err == nil:
			return false, nil
		case errors.Is(err, truenas.ErrBusy):
			return false, fmt.Errorf("copying %s: the NAS continues the copy: %w", d.copy, err)
		case !errors.Is(err, truenas.ErrNotEmpty):
			return false, backoff.Permanent(err)
		}
		return b.snapshotted(ctx, d, name)
	}, backoff.WithMaxElapsedTime(landing.Patience))
}

// snapshotted is copyEnds for a volume that has a snapshot by now: the snapshot of a complete copy, or only those of a periodic
// task.
func (b *builder) snapshotted(ctx context.Context, d plannedDisk, name string) (complete bool, err error) {
	_, err = b.nas.Snapshots.Get(ctx, d.volume+"@"+name)
	if errors.Is(err, truenas.ErrNotFound) {
		err = destroy.Dataset(ctx, b.nas, d.volume)
		return false, permanent(err)
	}
	return err == nil, permanent(err)
}

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}

// copiedMeanwhile distinguishes a failed copy from a copy that another process completed first, as when both took over the same lease.
func (b *builder) copiedMeanwhile(ctx context.Context, d plannedDisk, err error) error {
	if errors.Is(err, truenas.ErrExists) {
		return b.createdMeanwhile(err)
	}
	if jobs, unknown := copiesInto(ctx, b.nas, d.volume); unknown != nil || len(jobs) > 0 {
		return fmt.Errorf("%w: %w", truenas.ErrBusy, err)
	}
	return err
}

// leftCopy reports whether an earlier attempt has made the copy. It waits for a copy in progress, which outlives the attempt.
// It discards an incomplete copy, unless the VM has the disk already, because another process completed the clone meanwhile.
func (b *builder) leftCopy(ctx context.Context, d plannedDisk, name string) (complete bool, err error) {
	jobs, err := copiesInto(ctx, b.nas, d.volume)
	if err != nil {
		return false, err
	}
	for _, job := range jobs {
		_, err := b.nas.Jobs.Wait(ctx, job.ID, b.plan.progress(d.volume))
		if err != nil && !errors.Is(err, truenas.ErrJobLost) && !errors.Is(err, truenas.ErrAborted) {
			return false, fmt.Errorf("copying %s: %w", d.copy, err)
		}
	}
	_, err = b.nas.Snapshots.Get(ctx, d.volume+"@"+name)
	if err == nil || !errors.Is(err, truenas.ErrNotFound) {
		return err == nil, err
	}
	vm, err := b.nas.VMs.Get(ctx, b.vm.ID)
	if err != nil {
		return false, err
	}
	if now := (&plan{existing: &vm}); now.attached(d) {
		return true, nil
	}
	return b.copyEnds(ctx, d, name)
}

// copiesInto lists the unfinished jobs that copy into a dataset or a descendant of it.
func copiesInto(ctx context.Context, nas *truenas.Client, dataset string) ([]truenas.Job, error) {
	all, err := nas.Jobs.List(ctx, truenas.Where("method", methodCopy), truenas.Cond("state", "in", []string{truenas.JobWaiting, truenas.JobRunning}))
	var jobs []truenas.Job
	for _, job := range all {
		target := `"target_dataset":"` + dataset
		if arguments := string(job.Arguments); strings.Contains(arguments, target+`"`) || strings.Contains(arguments, target+"/") {
			jobs = append(jobs, job)
		}
	}
	return jobs, err
}

// awaitCopies waits a short time for the copies into a VM's datasets, which must not be destroyed before. The jobs
// are not aborted: TrueNAS would call them ABORTED and continue copying, and their ends could not be seen any more.
func (s *Server) awaitCopies(ctx context.Context, datasets []string) error {
	short, cancel := context.WithTimeout(ctx, s.cfg.CloneWithin)
	defer cancel()
	for _, dataset := range datasets {
		jobs, err := copiesInto(ctx, s.nas, dataset)
		if err != nil {
			return err
		}
		for _, job := range jobs {
			_, err := s.nas.Jobs.Wait(short, job.ID, nil)
			switch {
			case ctx.Err() != nil:
				return err
			case short.Err() != nil:
				return refusal.Aborted("TrueNAS is copying a disk into %s (job %d) and cannot stop the copy; delete the VM when the job has ended", dataset, job.ID)
			}
		}
	}
	return nil
}
