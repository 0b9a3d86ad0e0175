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

// lease creates a place's staging dataset, which one process at a time can do, so that two replicas do not land one image twice. It
// returns nil when another replica was faster. release removes the dataset with all uploads.
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
			return nil, TakenOver(lease.InTheWay(ctx, l.lander.nas, l.Staging, err))
		}
		// Another replica was faster; the next round reads its result.
		try++
		if err := lease.Sleep(ctx, lease.Pause); err != nil {
			return nil, err
		}
	}
}

// seenAge is the maximum age of the state that a claim of a lease relies on.
const seenAge = time.Second

// beforeClaim reads the state that a claim relies on. A reading of the caller from a moment ago is sufficient once, unless a
// staging dataset exists: the claim makes that dataset, which only one process can do, and the state is read again under the lease.
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

// takeOver removes the leftovers of a dead worker. A conversion of that worker continues without it and holds the file and the
// volume, so takeOver waits for its end.
func (l *Landing) takeOver(ctx context.Context, st State) error {
	if err := l.lander.Settle(ctx, l.Volume()); err != nil {
		return err
	}
	return l.lander.leases.DropStaged(ctx, *st.Staging)
}

// claim makes the staging dataset, and at the same time the place's dataset, which may outlive failures and then records the
// intended contents. claim releases the lease if it cannot make the place's dataset.
func (l *Landing) claim(ctx context.Context, st State) error {
	if err := l.lander.claims.EnsureRoot(ctx, l.Staging); err != nil {
		return err
	}
	l.uploads, l.emptied = path.Dir(l.Staging)+"/"+lease.UploadFolder+strconv.FormatInt(time.Now().UnixNano(), 36), false
	var g errgroup.Group // Without a common context: a canceled change may still take effect.
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

// DropStaging removes the staging dataset of a process that ended after the last step.
func (n *Lander) DropStaging(ctx context.Context, st State) error {
	if st.Staging == nil || n.leases.Alive(st.Staging) {
		return nil
	}
	return n.leases.DropStaged(ctx, *st.Staging)
}
