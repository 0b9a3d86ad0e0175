package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"virtrigaud-provider-truenas/truenas"
)

// User properties of a staging dataset: who is at work in it, and when that one was last seen.
const (
	propWorker = "virtrigaud:worker"
	propBeat   = "virtrigaud:beat" // seconds since 1970
)

// leaseFor is how long a worker counts as alive after its last sign of life.
const leaseFor = 90 * time.Second

// patience bounds how long a call that TrueNAS is too busy for is repeated.
const patience = 30 * time.Minute

// TrueNAS's jobs that write an image onto a volume.
const (
	methodConvert = "vm.device.convert"
	methodImport  = "vm.import_disk_image"
)

// lease takes an image's staging dataset, which one process at a time can make, so that two
// replicas do not land one image twice. It answers nil when another replica made the image
// ready meanwhile. release removes the dataset with all that was uploaded into it.
func (s *Server) lease(ctx context.Context, i image) (release func() error, err error) {
	for {
		st, err := s.observeImage(ctx, i)
		switch {
		case err != nil:
			return nil, err
		case st.ready && !i.spec.force:
			return nil, s.dropStaging(ctx, st)
		case st.staging != nil && s.alive(st.staging):
			if err := sleep(ctx, s.cfg.LeaseFor/3); err != nil {
				return nil, err
			}
			continue
		case st.staging != nil:
			if err := s.takeOver(ctx, i); err != nil {
				return nil, err
			}
		}
		err = s.claimImage(ctx, i, st)
		if err == nil {
			return s.heartbeat(ctx, i), nil
		}
		if !errors.Is(err, truenas.ErrExists) {
			return nil, err
		}
	}
}

// takeOver clears away what a worker left that is not there any more. A conversion that it
// started goes on without it and holds the file and the volume, so its end is waited for.
func (s *Server) takeOver(ctx context.Context, i image) error {
	jobs, err := s.nas.Jobs.List(ctx, truenas.Cond("method", "in", []string{methodConvert, methodImport}), truenas.Cond("state", "in", []string{truenas.JobWaiting, truenas.JobRunning}))
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if !bytes.Contains(job.Arguments, []byte(i.volume()+`"`)) {
			continue
		}
		if _, err := s.nas.Jobs.Wait(ctx, job.ID, nil); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return destroy(ctx, s.nas, i.staging())
}

// alive says whether another process is at work: its last sign of life is recent. What this
// process itself left, it left before it was restarted.
func (s *Server) alive(staging *truenas.Dataset) bool {
	props := staging.LocalUserProperties
	seconds, err := strconv.ParseInt(props[propBeat], 10, 64)
	if err != nil || props[propWorker] == s.cfg.Instance {
		return false
	}
	age := time.Since(time.Unix(seconds, 0))
	return age < s.cfg.LeaseFor && age > -s.cfg.LeaseFor
}

// claimImage makes the image's dataset, which outlives failures and says what is meant to be
// in it, and the staging dataset.
func (s *Server) claimImage(ctx context.Context, i image, st imageState) error {
	if st.dataset == nil {
		create := truenas.DatasetCreate{Name: i.dataset(), CreateAncestors: true, Comments: i.name, UserProperties: i.properties(s.cfg.ID)}
		if _, err := s.nas.Datasets.Create(ctx, create); present(err) != nil {
			return err
		}
	}
	create := truenas.DatasetCreate{Name: i.staging(), CreateAncestors: true, UserProperties: map[string]string{
		propProvider: s.cfg.ID, propName: i.name, propWorker: s.cfg.Instance, propBeat: beat(),
	}}
	_, err := s.nas.Datasets.Create(ctx, create)
	return err
}

func beat() string { return strconv.FormatInt(time.Now().Unix(), 10) }

// heartbeat shows signs of life until release is called.
func (s *Server) heartbeat(ctx context.Context, i image) (release func() error) {
	beating, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for sleep(beating, s.cfg.LeaseFor/3) == nil {
			update := truenas.DatasetUpdate{SetUserProperties: map[string]string{propBeat: beat()}}
			_, _ = s.nas.Datasets.Update(beating, i.staging(), update) // The next beat tries again.
		}
	}()
	return func() error {
		stop()
		<-stopped
		// What was interrupted by the end of this process is left as it is: cleaning up could
		// outlast the time that is left, and the next process does it.
		if s.images.ctx.Err() != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
		defer cancel()
		return destroy(ctx, s.nas, i.staging())
	}
}

// dropStaging removes the staging dataset that a process left behind after the last step.
func (s *Server) dropStaging(ctx context.Context, st imageState) error {
	if st.staging == nil || s.alive(st.staging) {
		return nil
	}
	return destroy(ctx, s.nas, st.staging.ID)
}

// sleep waits, or ends early with ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// patiently repeats a call while TrueNAS is busy with the same thing for somebody else, or has
// not yet noticed a volume that was just made.
func patiently[T any](ctx context.Context, call func() (T, error)) (T, error) {
	unseen := 0
	result, err := backoff.Retry(ctx, func() (T, error) {
		v, err := call()
		if errors.Is(err, truenas.ErrNotFound) {
			unseen++
		}
		if err == nil || errors.Is(err, truenas.ErrBusy) || (errors.Is(err, truenas.ErrNotFound) && unseen < zvolTries) {
			return v, err
		}
		return v, backoff.Permanent(err)
	}, backoff.WithMaxElapsedTime(patience))
	if err != nil {
		return result, fmt.Errorf("gave up: %w", err)
	}
	return result, nil
}
