package landing

import (
	"context"
	"errors"
	"path"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/truenas"
)

// lease takes a place's staging dataset, which one process at a time can make, so that two
// replicas do not land one image twice. It returns nil when another replica was faster. release
// removes the dataset with all that was uploaded into it.
func (l *Landing) lease(ctx context.Context) (release func() error, err error) {
	for try := 1; ; {
		st, err := l.beforeClaim(ctx)
		switch {
		case err != nil:
			return nil, err
		case l.Done(st):
			return nil, l.lander.DropLeft(ctx, st, l.Observe)
		case st.Staging != nil && l.lander.leases.Alive(st.Staging):
			if err := lease.Sleep(ctx, l.lander.leases.Age()/3); err != nil {
				return nil, err
			}
			continue
		case st.Staging != nil:
			if err := l.takeOver(ctx, st); err != nil {
				return nil, err
			}
		}
		err = l.claim(ctx, st)
		if err == nil {
			return l.lander.leases.Heartbeat(ctx, l.Staging, l.empty), nil
		}
		if !errors.Is(err, truenas.ErrExists) || try == lease.Tries {
			return nil, Usurped(lease.InTheWay(ctx, l.lander.nas, l.Staging, err))
		}
		// Another replica was faster, and what it made is seen in the next round.
		try++
		if err := lease.Sleep(ctx, lease.Pause); err != nil {
			return nil, err
		}
	}
}

// seenAge is how old a state may be by which a lease is claimed.
const seenAge = time.Second

// beforeClaim reads the state by which the lease is claimed. What the caller read a moment ago is as good, once, unless there is a
// staging dataset: the claim makes one, which fails for all processes but one, and the state is read again under the lease.
func (l *Landing) beforeClaim(ctx context.Context) (State, error) {
	seen := l.seen
	l.seen = observed{}
	if time.Since(seen.at) < seenAge && seen.Staging == nil {
		return seen.State, nil
	}
	return l.Observe(ctx)
}

// empty removes the uploaded file.
func (l *Landing) empty(ctx context.Context) error {
	if l.emptied {
		return nil
	}
	return destroy.Dataset(ctx, l.lander.nas, l.uploads)
}

// takeOver clears away what a worker left that is not there any more. A conversion that it
// started continues without it and holds the file and the volume, so its end is waited for.
func (l *Landing) takeOver(ctx context.Context, st State) error {
	if err := l.lander.Settle(ctx, l.Volume()); err != nil {
		return err
	}
	return l.lander.leases.DropStaged(ctx, *st.Staging)
}

// claim makes the staging dataset, and at the same time the place's dataset, which may outlive failures and then records what is
// meant to be in it. A claim without the place's dataset is given up.
func (l *Landing) claim(ctx context.Context, st State) error {
	if err := l.lander.claims.EnsureRoot(ctx, l.Staging); err != nil {
		return err
	}
	l.uploads, l.emptied = path.Dir(l.Staging)+"/"+lease.UploadFolder+strconv.FormatInt(time.Now().UnixNano(), 36), false
	var g errgroup.Group // Without a common context: a change that is cut off may still happen.
	if !l.Late {
		g.Go(func() error { return l.found(ctx, st) })
	}
	staged := l.lander.leases.Make(ctx, l.Staging, l.Name, map[string]string{lease.PropUploads: l.uploads})
	found := g.Wait()
	if staged != nil || found == nil {
		return staged
	}
	release := l.lander.leases.Heartbeat(ctx, l.Staging, nil)
	return errors.Join(found, release())
}

// DropLeft is dropStaging for callers without a retry: it waits until a process that seems alive has cleaned up, or its lease
// has expired.
func (n *Lander) DropLeft(ctx context.Context, st State, observe func(context.Context) (State, error)) (err error) {
	for st.Staging != nil && n.leases.Alive(st.Staging) {
		if err := lease.Sleep(ctx, n.leases.Age()/30); err != nil {
			return err
		}
		if st, err = observe(ctx); err != nil {
			return err
		}
	}
	return n.DropStaging(ctx, st)
}

// DropStaging removes the staging dataset that a process left behind after the last step.
func (n *Lander) DropStaging(ctx context.Context, st State) error {
	if st.Staging == nil || n.leases.Alive(st.Staging) {
		return nil
	}
	return n.leases.DropStaged(ctx, *st.Staging)
}
