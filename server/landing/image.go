package landing

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// land makes an image ready. It opens and checks the source before the first change on the NAS. The snapshot is the last step, so
// that every volume with it is complete.
func (p *Images) land(ctx context.Context, i spec.Image, watch landingWatch) error {
	if file, ok := spec.NASFile(i.Job.Source); ok {
		return p.landNASFile(ctx, i, file, watch)
	}
	l := p.lander.At(placeOf(i), imagePurpose{p, i})
	l.seen, l.begun = watch.seen, watch.begun
	source := i.Job.Source
	source.Progress = l.reporting(ctx, watch)
	defer p.cfg.Changed()
	return l.Fetch(ctx, source, p.lander.opener.Open)
}

// reporting passes progress on. It first records an image that waits for memory on the NAS, so that the caller gets a response
// meanwhile and another process can resume the work.
func (l *Landing) reporting(ctx context.Context, watch landingWatch) func(disk.Progress) {
	noted := false
	return func(now disk.Progress) {
		watch.progress(now)
		if !now.Waiting || noted {
			return
		}
		st, err := l.Observe(ctx)
		if err == nil && !l.Done(st) {
			err = l.found(ctx, st)
		}
		if noted = err == nil; noted {
			watch.begun()
		}
	}
}

// imagePurpose is the [Purpose] of an image.
type imagePurpose struct {
	images *Images
	image  spec.Image
}

// Observe reads the state of the image and its place.
func (p imagePurpose) Observe(ctx context.Context) (State, error) {
	return p.images.Observe(ctx, p.image)
}

// Done reports whether the image is ready and need not be replaced.
func (p imagePurpose) Done(st State) bool { return st.Ready && !p.image.Job.Force }

// Marks returns the properties of the dataset of the image.
func (p imagePurpose) Marks() map[string]string {
	return imageProperties(p.image, p.images.cfg.Provider)
}

// VolumeMarks returns none: the properties of a prepared image are on its snapshot.
func (p imagePurpose) VolumeMarks(*disk.Image, string) map[string]string { return nil }

// MayClear refuses to discard an image with clones, even with force.
func (p imagePurpose) MayClear(ctx context.Context, st State) error {
	if !st.Ready {
		return nil
	}
	clones, err := p.images.lander.nas.Datasets.List(ctx, truenas.Where("origin.rawvalue", p.image.Snapshot()))
	if err != nil {
		return err
	}
	vms, err := p.images.lander.nas.VMs.List(ctx)
	if err != nil {
		return err
	}
	if users := vmrecord.UsersOf(vms, p.image.Dataset(), -1); len(users) > 0 {
		return refusal.Withheld(refusal.FailedPrecondition("image_json.prepare.force: VM %q has %s in a drive; an image in use cannot be prepared again", users[0], p.image.Volume()), "image_json.prepare.force: a VM uses the image, which cannot be prepared again")
	}
	if len(clones) > 0 {
		return refusal.Withheld(refusal.FailedPrecondition("image_json.prepare.force: %s has %d clones, %s among them; an image in use cannot be prepared again", p.image.Snapshot(), len(clones), clones[0].ID), fmt.Sprintf("image_json.prepare.force: %d VMs use the image, which cannot be prepared again", len(clones)))
	}
	return nil
}

// Seal takes the snapshot that marks the volume as an image, and records its source.
func (p imagePurpose) Seal(ctx context.Context, img *disk.Image, size int64) error {
	props := p.Marks()
	props[spec.PropBytes] = strconv.FormatInt(size, 10)
	if img.Sum != "" {
		props[spec.PropChecksum] = img.SumType + ":" + img.Sum
	}
	_, err := p.images.lander.nas.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: p.image.Volume(), Name: spec.ReadySnapshot, UserProperties: props})
	return lease.IgnoreExists(err)
}

// properties returns the properties that mark the image's dataset and let another process resume the work.
func imageProperties(i spec.Image, provider string) map[string]string {
	props := map[string]string{spec.PropProvider: provider, spec.PropName: i.Name, spec.PropUsed: time.Now().UTC().Format(time.RFC3339)}
	if i.Namespace != "" {
		props[spec.PropNamespace] = i.Namespace
	}
	if i.Identity != nil {
		maps.Copy(props, i.Identity.Stamp(provider, time.Now()))
	}
	if source := i.Job.Source; i.Job.PublicSource() != "" {
		props[spec.PropSource] = source.URL
		if source.Format != "" {
			props[spec.PropFormat] = source.Format
		}
		if source.Checksum != "" {
			props[spec.PropChecksum] = source.ChecksumType + ":" + source.Checksum
		}
	}
	return props
}
