package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"virtrigaud-provider-truenas/truenas"
)

// methodCopy is TrueNAS's job that copies a disk.
const methodCopy = "replication.run_onetime"

// ensureCopy makes a volume a full copy. The copy carries its snapshot when it is whole.
func (b *builder) ensureCopy(ctx context.Context, d plannedDisk) error {
	if b.plan.attached(d) {
		return nil
	}
	source, name, _ := strings.Cut(d.copy, "@")
	if b.plan.exists {
		if whole, err := b.leftCopy(ctx, d, name); whole || err != nil {
			return err
		}
	}
	job, err := b.nas.Snapshots.Copy(ctx, source, name, d.volume, b.encrypted)
	if err != nil {
		return err
	}
	if _, err := b.nas.Jobs.Wait(ctx, job, b.plan.progress(d.volume)); err != nil {
		return fmt.Errorf("copying %s: %w", source, b.outrun(ctx, d, err))
	}
	return nil
}

// outrun tells a copy that failed from one that another process was faster to make, as when both had the same lease to take over.
func (b *builder) outrun(ctx context.Context, d plannedDisk, err error) error {
	if errors.Is(err, truenas.ErrExists) {
		return b.overtaken(err)
	}
	if jobs, unknown := copiesInto(ctx, b.nas, d.volume); unknown != nil || len(jobs) > 0 {
		return fmt.Errorf("%w: %w", truenas.ErrBusy, err)
	}
	return err
}

// leftCopy says whether an earlier attempt has made the copy. One that it began goes on without it
// and is waited for. What is not whole is thrown away, unless the VM has it: another process that
// had lost its lease was faster.
func (b *builder) leftCopy(ctx context.Context, d plannedDisk, name string) (whole bool, err error) {
	jobs, err := copiesInto(ctx, b.nas, d.volume)
	if err != nil {
		return false, err
	}
	for _, job := range jobs {
		_, err := b.nas.Jobs.Wait(ctx, job.ID, b.plan.progress(d.volume))
		if err != nil && !errors.Is(err, truenas.ErrJobLost) {
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
	return false, destroy(ctx, b.nas, d.volume)
}

// copiesInto lists the jobs that copy into a dataset or into what is in it, and have not ended.
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

// endCopies ends the copies into a VM's datasets that nobody waits for any more, so that the datasets can go.
func (s *Server) endCopies(ctx context.Context, datasets []string) error {
	for _, dataset := range datasets {
		jobs, err := copiesInto(ctx, s.nas, dataset)
		if err != nil {
			return err
		}
		for _, job := range jobs {
			if err := s.nas.Jobs.Abort(ctx, job.ID); err != nil && !errors.Is(err, truenas.ErrNotFound) {
				return err
			}
			if _, err := s.nas.Jobs.Wait(ctx, job.ID, nil); ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}
