package server

import (
	"context"
	"errors"
	"path"
	"strconv"
	"time"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/truenas"
)

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
		case st.staging != nil && l.s.leases.Alive(st.staging):
			if err := lease.Sleep(ctx, l.s.cfg.LeaseFor/3); err != nil {
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
			return l.s.leases.Heartbeat(ctx, l.staging, func(ctx context.Context) error { return destroy.Dataset(ctx, l.s.nas, l.uploads) }), nil
		}
		if !errors.Is(err, truenas.ErrExists) || try == lease.Tries {
			return nil, usurped(lease.InTheWay(ctx, l.s.nas, l.staging, err))
		}
		// Another replica was faster, and what it made is seen in the next round.
		try++
		if err := lease.Sleep(ctx, lease.Pause); err != nil {
			return nil, err
		}
	}
}

// takeOver clears away what a worker left that is not there any more. A conversion that it
// started goes on without it and holds the file and the volume, so its end is waited for.
func (l *landing) takeOver(ctx context.Context, st landState) error {
	if err := l.s.settle(ctx, l.volume()); err != nil {
		return err
	}
	return l.s.leases.DropStaged(ctx, *st.staging)
}

// claim makes the place's dataset, which may outlive failures and then says what is meant to be
// in it, and the staging dataset.
func (l *landing) claim(ctx context.Context, st landState) error {
	if !l.late {
		if err := l.found(ctx, st); err != nil {
			return err
		}
	}
	l.uploads = path.Dir(l.staging) + "/" + lease.UploadFolder + strconv.FormatInt(time.Now().UnixNano(), 36)
	return l.s.leases.Make(ctx, l.staging, l.name, map[string]string{lease.PropUploads: l.uploads})
}

// dropLeft is dropStaging for callers without a retry: it waits until a process that seems alive has cleaned up, or its lease
// has expired.
func (s *Server) dropLeft(ctx context.Context, st landState, observe func(context.Context) (landState, error)) (err error) {
	for st.staging != nil && s.leases.Alive(st.staging) {
		if err := lease.Sleep(ctx, s.cfg.LeaseFor/30); err != nil {
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
	if st.staging == nil || s.leases.Alive(st.staging) {
		return nil
	}
	return s.leases.DropStaged(ctx, *st.staging)
}
