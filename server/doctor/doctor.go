package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/diskio"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// Leftover is an object on the NAS that carries this provider's mark and belongs to no VM.
type Leftover struct {
	Kind  string    // the kind, for users
	Where string    // a dataset, "dataset@snapshot", or a VM's name on the NAS
	Name  string    // the name that its owner knows; empty: unknown
	Since time.Time // its creation time; zero: TrueNAS does not report it
	Bytes int64     // the space that its removal frees, approximately
	Keep  string    // the reason to keep it; empty: it may be removed

	home string // the dataset of its VM, if any
	drop func(context.Context) error
}

// Doctor finds and removes leftovers on a NAS.
type Doctor struct {
	nas      *truenas.Client
	provider string
	layout   spec.Layout
	claims   *ownership.Claims
	marks    *ownership.Marks
	leases   *lease.Leases
	mover    *diskio.Mover
	log      *zap.Logger

	checkComplete func(truenas.VM) error
	remove        func(ctx context.Context, id string, recorded bool) error
}

// Config is the configuration of a [Doctor].
type Config struct {
	Provider string
	Layout   spec.Layout
	Claims   *ownership.Claims
	Marks    *ownership.Marks
	Leases   *lease.Leases
	Mover    *diskio.Mover
	Log      *zap.Logger

	CheckComplete func(truenas.VM) error // refuses a full clone that is not complete
	// Remove removes a VM as Delete does, with the same refusals. It refuses as well when the VM has a record and recorded is
	// false, or has none and recorded is true.
	Remove func(ctx context.Context, id string, recorded bool) error
}

// New returns a Doctor.
func New(nas *truenas.Client, cfg Config) *Doctor {
	return &Doctor{
		nas: nas, provider: cfg.Provider, layout: cfg.Layout, claims: cfg.Claims, marks: cfg.Marks, leases: cfg.Leases, mover: cfg.Mover,
		log: cfg.Log, checkComplete: cfg.CheckComplete, remove: cfg.Remove,
	}
}

// Leftovers lists the leftovers of interrupted work and lost VMs on the NAS. It decides by the state of the NAS only, and
// ignores objects without a mark of this provider. It leaves out objects that are younger than settled, or than a lease,
// because they may be work in progress.
func (r *Doctor) Leftovers(ctx context.Context, settled time.Duration) ([]Leftover, error) {
	return r.look(ctx, settled, observations{})
}

// observations is the knowledge of an examination besides the NAS's present state.
type observations struct {
	ahead time.Duration     // the lead of the NAS's clock over the local one, if known
	beats map[string]string // the heartbeats a lease ago, by dataset; nil: not read
}

func (r *Doctor) look(ctx context.Context, settled time.Duration, by observations) ([]Leftover, error) {
	e, err := r.examine(ctx, max(settled, r.leases.Age()), by)
	if err != nil {
		return nil, err
	}
	return e.all(), nil
}

// all lists the leftovers in the order of their removal: staged objects depend on images and imports, clones on snapshots.
func (e *examination) all() []Leftover {
	found := append(e.staging(), e.images()...)
	found = append(found, e.imports()...)
	found = append(found, e.machines()...)
	found = append(found, e.snapshots()...)
	return append(found, e.folders()...)
}

// Remove removes the entries of Leftovers, except for those with a reason to keep them. It measures ages with the NAS's
// clock alone, and treats a worker as dead when its heartbeat has not changed for a lease, so that clocks need not agree. It
// checks again before each removal, under the lock of the VM, and keeps an object that is in use meanwhile. It continues
// after a failure and returns all failures.
func (r *Doctor) Remove(ctx context.Context, settled time.Duration) (removed []Leftover, err error) {
	if found, err := r.Leftovers(ctx, settled); err != nil || !slices.ContainsFunc(found, func(l Leftover) bool { return l.Keep == "" }) {
		return nil, err
	}
	ahead, release, err := r.lockDoctor(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	by, ageless, err := r.watchBeats(ctx, settled, ahead)
	if err != nil {
		return nil, err
	}
	var failures []error
	tried := map[string]bool{}
	for {
		found, err := r.look(ctx, settled, by)
		if err != nil {
			return removed, errors.Join(append(failures, err)...)
		}
		next, ok := nextLeftover(found, func(l Leftover) bool {
			return l.Keep != "" || tried[l.Where] || l.Since.IsZero() && !ageless[l.Where]
		})
		if !ok {
			return removed, errors.Join(failures...)
		}
		tried[next.Where] = true
		if err := r.dropLeftover(ctx, next, settled, by); err != nil {
			failures = append(failures, fmt.Errorf("%s %s: %w", next.Kind, next.Where, err))
			continue
		}
		r.log.Info("removed a leftover", zap.String("kind", next.Kind), zap.String("where", next.Where))
		removed = append(removed, next)
	}
}

// dropLeftover removes a leftover. For a leftover of a VM it takes the VM's lock and then repeats the check.
func (r *Doctor) dropLeftover(ctx context.Context, l Leftover, settled time.Duration, by observations) (err error) {
	if l.home == "" {
		return l.drop(ctx)
	}
	release, err := r.leases.LockVM(ctx, l.home, "it is being removed by doctor")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	found, err := r.look(ctx, settled, by)
	if err != nil {
		return err
	}
	again, ok := nextLeftover(found, func(other Leftover) bool { return other.Kind != l.Kind || other.Where != l.Where })
	if !ok || again.Keep != "" {
		return refusal.FailedPrecondition("it is in use now (%s)", again.Keep)
	}
	return again.drop(ctx)
}

// doctorFolder is the lock dataset that admits one doctor at a time.
const doctorFolder = "doctor"

// lockDoctor takes the lock of doctor. The creation time of the lock's dataset shows the NAS's clock.
func (r *Doctor) lockDoctor(ctx context.Context) (ahead time.Duration, release func() error, err error) {
	lock := r.layout.Root("") + spec.StagingFolder + doctorFolder
	if left, err := r.nas.Datasets.Get(ctx, lock); err == nil {
		if r.leases.Alive(&left) {
			return 0, nil, refusal.Aborted("another doctor is running, with a heartbeat less than %v ago", r.leases.Age())
		}
		if err := destroy.Dataset(ctx, r.nas, lock); err != nil {
			return 0, nil, err
		}
	}
	if err := r.leases.Make(ctx, lock, doctorFolder, nil); err != nil {
		return 0, nil, err
	}
	release = r.leases.Heartbeat(ctx, lock, nil)
	made, err := r.nas.Datasets.Get(ctx, lock)
	if err != nil {
		return 0, nil, errors.Join(err, release())
	}
	return time.Until(made.CreatedAt), release, nil
}

// watchBeats waits for a lease when a leftover may have a live worker. It also returns the leftovers whose age TrueNAS does not
// report: Create makes a VM's record a moment before its dataset.
func (r *Doctor) watchBeats(ctx context.Context, settled, ahead time.Duration) (observations, map[string]bool, error) {
	by := observations{ahead: ahead, beats: map[string]string{}}
	e, err := r.examine(ctx, max(settled, r.leases.Age()), observations{ahead: ahead})
	if err != nil {
		return by, nil, err
	}
	for _, d := range e.datasets {
		if beat := d.LocalUserProperties[lease.PropBeat]; beat != "" {
			by.beats[d.ID] = beat
		}
	}
	ageless := map[string]bool{}
	for _, l := range e.all() {
		if l.Since.IsZero() && l.Keep == "" {
			ageless[l.Where] = true
		}
	}
	if len(ageless)+len(by.beats) == 0 {
		return by, ageless, nil
	}
	return by, ageless, lease.Sleep(ctx, r.leases.Age())
}

func nextLeftover(found []Leftover, skip func(Leftover) bool) (Leftover, bool) {
	for _, l := range found {
		if !skip(l) {
			return l, true
		}
	}
	return Leftover{}, false
}

// examination is one reading of the NAS.
type examination struct {
	doctor   *Doctor
	before   time.Time // a later object may be work in progress; in the NAS's time
	beaten   time.Time // the same for an object with a later heartbeat; in local time
	by       observations
	vms      []truenas.VM
	datasets []truenas.Dataset
	byID     map[string]truenas.Dataset
	snaps    []truenas.Snapshot // those of images, and those that were taken for clones and exports
	jobs     []truenas.Job      // unfinished jobs
	stray    []string           // folders that block the creation of a dataset
}

func (r *Doctor) examine(ctx context.Context, settled time.Duration, by observations) (*examination, error) {
	if err := r.claims.Admit(ctx); err != nil {
		return nil, err
	}
	e := &examination{doctor: r, before: time.Now().Add(by.ahead - settled), beaten: time.Now().Add(-settled), by: by, byID: map[string]truenas.Dataset{}}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { e.vms, err = r.nas.VMs.List(gctx); return })
	g.Go(func() (err error) { e.datasets, err = r.nas.Datasets.List(gctx); return })
	g.Go(func() (err error) {
		e.jobs, err = r.nas.Jobs.List(gctx, truenas.Cond("state", "in", []string{truenas.JobWaiting, truenas.JobRunning}))
		return
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, d := range e.datasets {
		e.byID[d.ID] = d
	}
	if _, ok := e.byID[r.layout.Pool()]; !ok {
		return nil, refusal.FailedPrecondition("pool %q is not imported on the NAS, so its leftovers are unknown", r.layout.Pool())
	}
	var err error
	if e.snaps, err = r.nas.Snapshots.Picked(ctx, isWorkSnapshot, e.snapshotted()...); err != nil {
		return nil, err
	}
	e.stray, err = r.strayFolders(ctx, e.byID)
	return e, err
}

// isWorkSnapshot reports whether a snapshot of this name is that of an image, a clone or an export.
func isWorkSnapshot(name string) bool {
	return name == spec.ReadySnapshot || strings.HasPrefix(name, spec.CloneSnapshot) || strings.HasPrefix(name, diskio.ExportSnapshot)
}

// snapshotted returns the datasets that this provider takes snapshots of: those in its trees, and the disks of VMs.
func (e *examination) snapshotted() []string {
	var list []string
	for _, d := range e.datasets {
		if spec.InTree(d.ID, e.doctor.layout.Root(spec.PoolOf(d.ID))) {
			list = append(list, d.ID)
		}
	}
	for _, vm := range e.vms {
		for _, volume := range vmrecord.Disks(vm) {
			if _, ok := e.byID[volume]; ok && !slices.Contains(list, volume) {
				list = append(list, volume)
			}
		}
	}
	return list
}

// own reports whether a dataset carries this provider's mark itself, and is old enough.
func (e *examination) own(d truenas.Dataset) bool {
	return d.LocalUserProperties[spec.PropProvider] == e.doctor.provider && e.settled(d.CreatedAt) && !ownership.Inherits(d, e.datasets)
}

func (e *examination) settled(made time.Time) bool { return made.Before(e.before) }

// in lists this provider's datasets in a folder of the tree on any pool.
func (e *examination) in(folder string) []truenas.Dataset {
	var list []truenas.Dataset
	for _, d := range e.datasets {
		name, ok := strings.CutPrefix(d.ID, e.doctor.layout.Root(spec.PoolOf(d.ID))+folder)
		if ok && name != "" && !strings.Contains(name, "/") && e.own(d) {
			list = append(list, d)
		}
	}
	return list
}

// leftover describes a dataset. It is kept while a VM, a clone of another owner or a job of TrueNAS needs it.
func (e *examination) leftover(kind string, d truenas.Dataset, drop func(context.Context) error) Leftover {
	l := Leftover{Kind: kind, Where: d.ID, Name: d.LocalUserProperties[spec.PropName], Since: d.CreatedAt, Bytes: d.UsedBytes, drop: drop}
	l.Keep = e.inUse(d.ID, -1)
	return l
}

// inUse names the users of a dataset's contents; it ignores the VM with the number except.
func (e *examination) inUse(dataset string, except int64) string {
	if users := vmrecord.UsersOf(e.vms, dataset, except); len(users) > 0 {
		return fmt.Sprintf("VM %s uses it", users[0])
	}
	for _, d := range e.datasets {
		origin, _, cloned := strings.Cut(d.Origin, "@")
		if cloned && spec.InTree(origin, dataset) && !spec.InTree(d.ID, dataset) && d.UserProperties[spec.PropProvider] != e.doctor.provider {
			return d.ID + " is a clone of it"
		}
	}
	return e.working(dataset)
}

// working returns the unfinished job of TrueNAS that names a dataset or an object in it.
func (e *examination) working(dataset string) string {
	for _, job := range e.jobs {
		for _, end := range []string{`"`, "/", "@"} {
			if strings.Contains(string(job.Arguments), dataset+end) {
				return fmt.Sprintf("a job of TrueNAS uses it (%s)", job.Method)
			}
		}
	}
	return ""
}
