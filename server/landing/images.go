package landing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Of returns the image that a source makes on a pool.
func (p *Images) Of(pool, name string, job spec.ImageJob) (spec.Image, error) {
	key, err := spec.ImageKey(job.Source)
	if err != nil {
		return spec.Image{}, refusal.InvalidArgument("image_json", "%v", err)
	}
	return spec.Image{Job: job, Key: key, Name: name, Root: p.cfg.Layout.Root(pool)}, nil
}

func placeOf(i spec.Image) Place {
	return Place{Dataset: i.Dataset(), Staging: i.Root + spec.StagingFolder + i.Key, Name: i.Name}
}

// Observe reads the state of an image in one round trip. A volume without its snapshot is not an image, because it may be
// incomplete.
func (p *Images) Observe(ctx context.Context, i spec.Image) (State, error) {
	var ready bool
	var st State
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		snapshot, err := FindSnapshot(ctx, p.lander.nas, i.Snapshot())
		ready = snapshot != nil
		return err
	})
	g.Go(func() (err error) { st, err = p.lander.Observe(ctx, placeOf(i)); return })
	err := g.Wait()
	st.Ready = ready
	if err == nil && i.Identity != nil && st.Dataset != nil {
		err = i.Identity.Check(st.Dataset.LocalUserProperties)
	}
	return st, err
}

// Ensure starts the preparation of an image that is not ready, unless it is in progress. It reports whether the caller has
// to wait. Providers that share a dataset share its images, which are identified by their source and not by the provider that
// prepared them. A failure is returned once, and the next call starts the preparation again.
func (p *Images) Ensure(ctx context.Context, i spec.Image) (started bool, err error) {
	if running, failure := p.work.State(i.Dataset()); running || failure != nil {
		return running, failure
	}
	st, err := p.Observe(ctx, i)
	seen := observed{st, time.Now()}
	switch {
	case err != nil:
		return false, err
	case st.Pool == nil:
		return false, refusal.FailedPrecondition("storage_hint: the NAS has no pool %q", spec.PoolOf(i.Root))
	case st.Ready && !i.Job.Force:
		return false, p.lander.DropStaging(ctx, st)
	case i.Job.Force && st.Dataset != nil && st.Dataset.LocalUserProperties[spec.PropProvider] != p.cfg.Provider:
		return false, refusal.AlreadyExists("image_json.prepare.force: dataset %s was made by another provider, which may use it", i.Dataset())
	case i.Job.Absent:
		return false, refusal.FailedPrecondition("image_json.prepare.onMissing: the image is not on the NAS, and Fail forbids an import")
	}
	// VirtRigaud calls an image prepared when its task is over, however it ended, and never requests
	// it again. So there is no task for a source that does not open.
	return true, p.begin(ctx, i, seen)
}

// JustPrepared reports whether this process has prepared an image a moment ago, so that its task is over. ImagePrepare and Create
// read the image itself, because it may be gone by then.
func (p *Images) JustPrepared(dataset string) bool { return p.work.JustDone(dataset) }

// Resumable reads the source of an image from the properties of its dataset; false if they do not record it.
func (p *Images) Resumable(i *spec.Image, st State) bool {
	if st.Dataset == nil {
		return false
	}
	props := st.Dataset.LocalUserProperties
	if props[spec.PropProvider] != p.cfg.Provider || props[spec.PropSource] == "" {
		return false
	}
	kind, sum, _ := strings.Cut(props[spec.PropChecksum], ":")
	i.Name, i.Identity, i.Namespace = props[spec.PropName], spec.ReadStamp(props), props[spec.PropNamespace]
	i.Job = spec.ImageJob{Timeout: spec.DefaultImageTimeout, Retries: spec.DefaultImageRetries, Source: disk.Source{URL: props[spec.PropSource], Format: props[spec.PropFormat], Checksum: sum, ChecksumType: kind}}
	return true
}

// ByPath returns the prepared image whose volume this is.
func (p *Images) ByPath(volume string) (spec.Image, bool) {
	dataset, isDisk := strings.CutSuffix(volume, "/disk")
	root := p.cfg.Layout.Root(spec.PoolOf(volume))
	key, inTree := strings.CutPrefix(dataset, root+spec.ImagesFolder)
	return spec.Image{Key: key, Root: root}, isDisk && inTree && key != "" && !strings.Contains(key, "/")
}

// OfVolume returns the dataset of the prepared image with this volume, or "".
func (p *Images) OfVolume(volume string) string {
	if i, ok := p.ByPath(volume); ok {
		return i.Dataset()
	}
	return ""
}

// FindSnapshot returns a snapshot, or nil when it does not exist.
func FindSnapshot(ctx context.Context, nas *truenas.Client, id string) (*truenas.Snapshot, error) {
	snapshot, err := nas.Snapshots.Get(ctx, id)
	if errors.Is(err, truenas.ErrNotFound) {
		return nil, nil
	}
	return &snapshot, err
}

// Touch records the current time as the last use of an image.
func (n *Lander) Touch(ctx context.Context, dataset string) error {
	update := truenas.DatasetUpdate{SetUserProperties: map[string]string{spec.PropUsed: time.Now().UTC().Format(time.RFC3339)}}
	if _, err := n.nas.Datasets.Update(ctx, dataset, update); err != nil {
		return fmt.Errorf("noting the use of %s: %w", dataset, err)
	}
	return nil
}
