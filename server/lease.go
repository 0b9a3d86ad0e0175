package server

import (
	"context"
	"errors"
	"maps"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// User properties of a staging dataset: who is at work in it, and when that one was last seen.
const (
	propWorker  = "virtrigaud:worker"
	propUploads = "virtrigaud:uploads" // the dataset that it uploads into
	propBeat    = "virtrigaud:beat"    // milliseconds since 1970
)

// leaseFor is how long a worker counts as alive after its last sign of life.
const leaseFor = 90 * time.Second

// lease takes a place's staging dataset, which one process at a time can make, so that two
// replicas do not land one image twice. It answers nil when another replica was faster. release
// removes the dataset with all that was uploaded into it.
func (l *landing) lease(ctx context.Context) (release func() error, err error) {
	for try := 1; ; {
		st, err := l.observe(ctx)
		switch {
		case err != nil:
			return nil, err
		case l.done(st):
			return nil, l.s.dropLeft(ctx, st, l.observe)
		case st.staging != nil && l.s.alive(st.staging):
			if err := sleep(ctx, l.s.cfg.LeaseFor/3); err != nil {
				return nil, err
			}
			continue
		case st.staging != nil:
			if err := l.takeOver(ctx, st); err != nil {
				return nil, err
			}
		}
		err = l.claim(ctx, st)
		if err == nil {
			return l.s.heartbeat(ctx, l.staging, func(ctx context.Context) error { return destroy.Dataset(ctx, l.s.nas, l.uploads) }), nil
		}
		if !errors.Is(err, truenas.ErrExists) || try == createTries {
			return nil, usurped(inTheWay(ctx, l.s.nas, l.staging, err))
		}
		// Another replica was faster, and what it made is seen in the next round.
		try++
		if err := sleep(ctx, leasePause); err != nil {
			return nil, err
		}
	}
}

// leasePause lies between two attempts to make a dataset that another replica may just be making.
const leasePause = 200 * time.Millisecond

// takeOver clears away what a worker left that is not there any more. A conversion that it
// started goes on without it and holds the file and the volume, so its end is waited for.
func (l *landing) takeOver(ctx context.Context, st landState) error {
	if err := l.s.settle(ctx, l.volume()); err != nil {
		return err
	}
	return l.s.dropStaged(ctx, *st.staging)
}

// dropStaged removes a staging dataset, and before it the one that was uploaded into, which it names.
func (s *Server) dropStaged(ctx context.Context, staging truenas.Dataset) error {
	if uploads := staging.LocalUserProperties[propUploads]; strings.HasPrefix(uploads, path.Dir(staging.ID)+"/"+uploadFolder) {
		if err := destroy.Dataset(ctx, s.nas, uploads); err != nil {
			return err
		}
	}
	return destroy.Dataset(ctx, s.nas, staging.ID)
}

// alive says whether another process is at work: its last sign of life is recent. What this
// process itself left, it left before it was restarted.
func (s *Server) alive(staging *truenas.Dataset) bool {
	props := staging.LocalUserProperties
	millis, err := strconv.ParseInt(props[propBeat], 10, 64)
	if err != nil || props[propWorker] == s.cfg.Instance {
		return false
	}
	age := time.Since(time.UnixMilli(millis))
	return age < s.cfg.LeaseFor && age > -s.cfg.LeaseFor
}

// claim makes the place's dataset, which may outlive failures and then says what is meant to be
// in it, and the staging dataset.
func (l *landing) claim(ctx context.Context, st landState) error {
	if !l.late {
		if err := l.found(ctx, st); err != nil {
			return err
		}
	}
	l.uploads = path.Dir(l.staging) + "/" + uploadFolder + strconv.FormatInt(time.Now().UnixNano(), 36)
	return l.s.stage(ctx, l.staging, l.name, map[string]string{propUploads: l.uploads})
}

// uploadFolder begins the names of the datasets that are uploaded into. Each is used once.
const uploadFolder = "upload-"

// stage makes a staging dataset that says who is at work in it.
func (s *Server) stage(ctx context.Context, staging, name string, more map[string]string) error {
	props := map[string]string{spec.PropProvider: s.cfg.ID, spec.PropName: name, propWorker: s.cfg.Instance, propBeat: beat()}
	maps.Copy(props, more)
	if err := s.claims.EnsureRoot(ctx, staging); err != nil {
		return err
	}
	_, err := s.nas.Datasets.Create(ctx, truenas.DatasetCreate{Name: staging, CreateAncestors: true, UserProperties: props})
	return err
}

func beat() string { return strconv.FormatInt(time.Now().UnixMilli(), 10) }

// heartbeat shows signs of life until release is called, which does what is to be done first and
// removes the dataset.
func (s *Server) heartbeat(ctx context.Context, staging string, first func(context.Context) error) (release func() error) {
	beating, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for sleep(beating, s.cfg.LeaseFor/3) == nil {
			update := truenas.DatasetUpdate{SetUserProperties: map[string]string{propBeat: beat()}}
			_, _ = s.nas.Datasets.Update(beating, staging, update) // The next beat tries again.
		}
	}()
	return func() error {
		stop()
		<-stopped
		// What was interrupted by the end of this process is left as it is: cleaning up could
		// outlast the time that is left, and the next process does it.
		if s.ctx.Err() != nil {
			return nil
		}
		ctx, cancel := s.undoing(ctx)
		defer cancel()
		return cleared(ctx, func() error {
			if first != nil {
				if err := first(ctx); err != nil {
					return err
				}
			}
			return destroy.Dataset(ctx, s.nas, staging)
		})
	}
}

// clearTries is how often what is not needed any more is removed before it is left to the next one, or to the doctor.
const clearTries = 3

// cleared repeats a removal whatever its failure was: when it is the last step of something, nobody asks again.
func cleared(ctx context.Context, remove func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, remove() }, backoff.WithMaxTries(clearTries))
	return err
}

// dropLeft is dropStaging where nobody asks again: a process that seems alive is given the time to
// clear up after itself, or to be known as dead.
func (s *Server) dropLeft(ctx context.Context, st landState, observe func(context.Context) (landState, error)) (err error) {
	for st.staging != nil && s.alive(st.staging) {
		if err := sleep(ctx, s.cfg.LeaseFor/30); err != nil {
			return err
		}
		if st, err = observe(ctx); err != nil {
			return err
		}
	}
	return s.dropStaging(ctx, st)
}

// dropStaging removes the staging dataset that a process left behind after the last step.
func (s *Server) dropStaging(ctx context.Context, st landState) error {
	if st.staging == nil || s.alive(st.staging) {
		return nil
	}
	return s.dropStaged(ctx, *st.staging)
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
