package diskio

import (
	"context"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/landing"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Mover imports and exports disks on a NAS.
type Mover struct {
	nas      *truenas.Client
	provider string
	layout   spec.Layout
	lander   *landing.Lander
	leases   *lease.Leases
	locks    *lease.Locks
	marks    *ownership.Marks
	opener   *disk.Opener
	log      *zap.Logger

	current       func(ctx context.Context, id string) (truenas.VM, error)
	checkComplete func(truenas.VM) error
	permit        func(field string) error
}

// Config is the configuration of a [Mover].
type Config struct {
	Provider string
	Layout   spec.Layout
	Lander   *landing.Lander
	Leases   *lease.Leases
	Locks    *lease.Locks // of VMs by id, and of staging places
	Marks    *ownership.Marks
	Opener   *disk.Opener
	Log      *zap.Logger

	Current       func(ctx context.Context, id string) (truenas.VM, error) // reads the VM with this id, or fails with truenas.ErrNotFound
	CheckComplete func(truenas.VM) error                                   // refuses a full clone that is not complete
	Permit        func(field string) error                                 // refuses a request that moves files when the key may not
}

// New returns a Mover.
func New(nas *truenas.Client, cfg Config) *Mover {
	return &Mover{
		nas: nas, provider: cfg.Provider, layout: cfg.Layout, lander: cfg.Lander, leases: cfg.Leases, locks: cfg.Locks, marks: cfg.Marks,
		opener: cfg.Opener, log: cfg.Log, current: cfg.Current, checkComplete: cfg.CheckComplete, permit: cfg.Permit,
	}
}
