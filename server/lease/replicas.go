package lease

import (
	"context"
	"errors"
	"fmt"
	"path"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// LockVM makes the dataset that reserves a VM's dataset for this process. It fails while another replica holds
// the lock.
func (l *Leases) LockVM(ctx context.Context, dataset, doing string) (release func() error, err error) {
	return l.lockVM(ctx, dataset, doing, nil)
}

// Reserve is [Leases.LockVM] for a VM that may not exist yet. The lock records the VM's id, so that Delete finds the lock of a dead
// process.
func (l *Leases) Reserve(ctx context.Context, dataset, id, doing string) (release func() error, err error) {
	return l.lockVM(ctx, dataset, doing, map[string]string{spec.PropVM: id})
}

func (l *Leases) lockVM(ctx context.Context, dataset, doing string, more map[string]string) (release func() error, err error) {
	name, lock := path.Base(dataset), l.layout.HandOverClaim(dataset)
	for try := 1; ; try++ {
		err := l.Make(ctx, lock, name, more)
		if err == nil {
			return l.Heartbeat(ctx, lock, nil), nil
		}
		if !errors.Is(err, truenas.ErrExists) {
			return nil, err
		}
		holder, err := l.nas.Datasets.Get(ctx, lock)
		switch {
		case err != nil && !errors.Is(err, truenas.ErrNotFound):
			return nil, err
		case err == nil && l.Alive(&holder):
			return nil, fmt.Errorf("%s: %s by another replica: %w", name, doing, truenas.ErrBusy)
		case try == Tries:
			if blocked := FolderFor(ctx, l.nas, lock); blocked != nil {
				return nil, blocked
			}
			return nil, fmt.Errorf("%s: %s by another replica: %w", name, doing, truenas.ErrBusy)
		case err == nil:
			if err := destroy.Dataset(ctx, l.nas, lock); err != nil {
				return nil, err
			}
		}
		if err := Sleep(ctx, Pause); err != nil {
			return nil, err
		}
	}
}

// Locked reports whether the lock of a VM's dataset exists, including a lock of a dead replica.
func (l *Leases) Locked(ctx context.Context, dataset string) (bool, error) {
	_, err := l.nas.Datasets.Get(ctx, l.layout.HandOverClaim(dataset))
	if errors.Is(err, truenas.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// HeldByOther reports whether another replica holds the lock of a VM's dataset.
func (l *Leases) HeldByOther(ctx context.Context, dataset string) (bool, error) {
	lock, err := l.nas.Datasets.Get(ctx, l.layout.HandOverClaim(dataset))
	if errors.Is(err, truenas.ErrNotFound) {
		return false, nil
	}
	return err == nil && l.Alive(&lock), err
}
