package landing

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Patience bounds the retries of a call while TrueNAS is too busy for it.
const Patience = 30 * time.Minute

// unseenTries bounds the retries of a call while TrueNAS has not noticed a new volume yet.
const unseenTries = 5

// TrueNAS's jobs that write an image onto a volume, or a volume into an image.
const (
	methodConvert = "vm.device.convert"
	methodImport  = "vm.import_disk_image"
	methodExport  = "vm.export_disk_image"
)

// writeVolume writes a file on the NAS onto a volume, by the method of the release. One conversion runs at a time: TrueNAS keeps a
// queue of one, and returns the second call's job to a third call.
func (n *Lander) writeVolume(ctx context.Context, file, volume string) error {
	// The older method expects the volume's name, the newer one its path.
	begin, target := n.nas.Devices.Convert, spec.ZvolPath(volume)
	if !n.nas.Release().AtLeast(truenas.R25_10) {
		begin, target = n.nas.VMs.ImportDiskImage, volume
	}
	err := n.Convert(ctx, func(ctx context.Context) (truenas.JobID, error) { return begin(ctx, file, target) })
	if err != nil {
		return fmt.Errorf("writing %s: %w", volume, err)
	}
	return nil
}

// Convert begins a conversion under the process's lock, and waits for it.
func (n *Lander) Convert(ctx context.Context, begin func(context.Context) (truenas.JobID, error)) error {
	unlock, err := n.locks.Lock(ctx, "convert")
	if err != nil {
		return err
	}
	defer unlock()
	_, err = patiently(ctx, func() (truenas.Job, error) {
		job, err := begin(ctx)
		if err != nil {
			return truenas.Job{}, err
		}
		return n.nas.Jobs.Wait(ctx, job, nil)
	})
	return err
}

// patiently repeats a call while TrueNAS runs the same operation for another client, or has not yet registered a new volume.
func patiently[T any](ctx context.Context, call func() (T, error)) (T, error) {
	unseen := 0
	result, err := backoff.Retry(ctx, func() (T, error) {
		v, err := call()
		if errors.Is(err, truenas.ErrNotFound) {
			unseen++
		}
		if err == nil || errors.Is(err, truenas.ErrBusy) || (errors.Is(err, truenas.ErrNotFound) && unseen < unseenTries) {
			return v, err
		}
		return v, backoff.Permanent(err)
	}, backoff.WithMaxElapsedTime(Patience))
	if err != nil {
		return result, fmt.Errorf("timeout: %w", err)
	}
	return result, nil
}

// Conversions lists the conversions with a file or a volume that TrueNAS remembers, oldest first.
func (n *Lander) Conversions(ctx context.Context, path string) ([]truenas.Job, error) {
	all, err := n.nas.Jobs.List(ctx, truenas.Cond("method", "in", []string{methodConvert, methodImport, methodExport}))
	var jobs []truenas.Job
	for _, job := range all {
		if bytes.Contains(job.Arguments, []byte(path+`"`)) {
			jobs = append(jobs, job)
		}
	}
	slices.SortFunc(jobs, func(a, b truenas.Job) int { return cmp.Compare(a.ID, b.ID) })
	return jobs, err
}

// Settle waits until no conversion reads or writes a volume, and ignores their results. It does not abort them: up to 25.10
// TrueNAS sets such a job to ABORTED while qemu-img continues, and from 26 on it ignores the request. For a job that a user
// aborted it waits for the process.
func (n *Lander) Settle(ctx context.Context, volume string) error {
	jobs, err := n.Conversions(ctx, volume)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if job.Done() {
			continue
		}
		if _, err := n.nas.Jobs.Wait(ctx, job.ID, nil); err != nil && ctx.Err() != nil {
			return err
		}
	}
	if !slices.ContainsFunc(jobs, func(job truenas.Job) bool { return job.State == truenas.JobAborted }) {
		return nil
	}
	return n.released(ctx, volume)
}

// released waits until no process of QEMU has a volume open.
func (n *Lander) released(ctx context.Context, volume string) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		processes, err := n.nas.Datasets.Processes(ctx, volume)
		switch {
		case errors.Is(err, truenas.ErrNotFound):
			return struct{}{}, nil
		case err != nil:
			return struct{}{}, backoff.Permanent(err)
		case slices.ContainsFunc(processes, truenas.Process.QEMU):
			return struct{}{}, fmt.Errorf("an aborted conversion of %s is still running: %w", volume, truenas.ErrBusy)
		}
		return struct{}{}, nil
	}, backoff.WithMaxElapsedTime(Patience))
	return err
}
