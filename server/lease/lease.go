package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// User properties of the dataset of a lease: the holder, and its last heartbeat.
const (
	propWorker  = "virtrigaud:worker"
	PropUploads = "virtrigaud:uploads" // the dataset of its upload
	PropBeat    = "virtrigaud:beat"    // milliseconds since 1970
)

// Leases takes, renews and releases the leases of a process. A lease is a dataset that one process at a time can create. Its
// user properties name the holder and have the holder's last heartbeat.
type Leases struct {
	nas      *truenas.Client
	provider string
	instance string // distinguishes this process from other replicas, and stays the same after its restart
	age      time.Duration
	layout   spec.Layout
	claims   *ownership.Claims
	process  context.Context // ends with the process
}

// Config is the configuration of [Leases].
type Config struct {
	Provider string
	Instance string        // distinguishes this process from other replicas, and stays the same after its restart
	Age      time.Duration // a holder counts as dead after this time without a heartbeat
	Layout   spec.Layout
	Claims   *ownership.Claims
}

// New returns the leases of a process. Work that the end of process interrupts is left to the next process.
func New(process context.Context, nas *truenas.Client, cfg Config) *Leases {
	return &Leases{nas: nas, provider: cfg.Provider, instance: cfg.Instance, age: cfg.Age, layout: cfg.Layout, claims: cfg.Claims, process: process}
}

// Age returns the time without a heartbeat after which a holder counts as dead.
func (l *Leases) Age() time.Duration { return l.age }

// DefaultAge is the default of [Config.Age].
const DefaultAge = 90 * time.Second

// Pause is the time between two attempts to make a dataset that another replica may be making.
const Pause = 200 * time.Millisecond

// DropStaged removes a staging dataset, and before it the upload's dataset that it names.
func (l *Leases) DropStaged(ctx context.Context, staging truenas.Dataset) error {
	if uploads := staging.LocalUserProperties[PropUploads]; strings.HasPrefix(uploads, path.Dir(staging.ID)+"/"+UploadFolder) {
		if err := destroy.Dataset(ctx, l.nas, uploads); err != nil {
			return err
		}
	}
	return destroy.Dataset(ctx, l.nas, staging.ID)
}

// Alive reports whether another process uses a staging dataset: its last heartbeat is recent. A dataset of this process's own
// instance name is a leftover from before its restart.
func (l *Leases) Alive(staging *truenas.Dataset) bool {
	props := staging.LocalUserProperties
	millis, err := strconv.ParseInt(props[PropBeat], 10, 64)
	if err != nil || props[propWorker] == l.instance {
		return false
	}
	age := time.Since(time.UnixMilli(millis))
	return age < l.age && age > -l.age
}

// UploadFolder is the prefix of the datasets for uploads. Each is used once.
const UploadFolder = "upload-"

// Make creates a staging dataset that records its worker.
func (l *Leases) Make(ctx context.Context, staging, name string, more map[string]string) error {
	props := map[string]string{spec.PropProvider: l.provider, spec.PropName: name, propWorker: l.instance, PropBeat: beat()}
	maps.Copy(props, more)
	if err := l.claims.EnsureRoot(ctx, staging); err != nil {
		return err
	}
	_, err := l.nas.Datasets.Create(ctx, truenas.DatasetCreate{Name: staging, CreateAncestors: true, UserProperties: props})
	return err
}

func beat() string { return strconv.FormatInt(time.Now().UnixMilli(), 10) }

// Heartbeat renews the lease until release is called. release runs the final work and removes the dataset.
func (l *Leases) Heartbeat(ctx context.Context, staging string, first func(context.Context) error) (release func() error) {
	beating, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for Sleep(beating, l.age/3) == nil {
			update := truenas.DatasetUpdate{SetUserProperties: map[string]string{PropBeat: beat()}}
			_, _ = l.nas.Datasets.Update(beating, staging, update) // The next heartbeat retries.
		}
	}()
	return func() error {
		stop()
		<-stopped
		// After the end of this process the work stays as it is: the cleanup could take longer than the remaining time, and the
		// next process does it when the caller retries.
		if l.process.Err() != nil {
			return fmt.Errorf("the provider stops before it removes %s: %w", staging, truenas.ErrUnavailable)
		}
		ctx, cancel := l.Undoing(ctx)
		defer cancel()
		return cleared(ctx, func() error {
			if first != nil {
				if err := first(ctx); err != nil {
					return err
				}
			}
			return destroy.Dataset(ctx, l.nas, staging)
		})
	}
}

// clearTries bounds the attempts to remove a temporary object. After that, the next call or the doctor removes it.
const clearTries = 3

// cleared repeats a removal after any failure, because no caller retries the last step of an operation.
func cleared(ctx context.Context, remove func() error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, remove() }, backoff.WithMaxTries(clearTries))
	return err
}

// Sleep waits, or ends early with ctx's error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// undoTimeout bounds the removal of the objects of a failed attempt.
const undoTimeout = 30 * time.Second

// Undoing is the time limit for undoing an attempt. It outlasts the caller, but not the server: the next process finds the
// remains.
func (l *Leases) Undoing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	stop := context.AfterFunc(l.process, cancel)
	return ctx, func() { stop(); cancel() }
}

// Tries bounds the attempts to create a dataset that another client creates or removes at the same time, as happens when many VMs
// are the first of their tree.
const Tries = 3

// Provider returns the id of the provider.
func (l *Leases) Provider() string { return l.provider }

// IgnoreExists treats "exists already" as success: another replica was faster.
func IgnoreExists(err error) error {
	if errors.Is(err, truenas.ErrExists) {
		return nil
	}
	return err
}
