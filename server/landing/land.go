package landing

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/ownership"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// volumeAlign is the multiple, in bytes, that a volume's size is rounded up to; TrueNAS requires a multiple of its block size.
const volumeAlign = 1 << 20

// landedMode is the mode of an uploaded image.
const landedMode = 0o600

// Place is the place of an image on the NAS: a dataset for the volume, and a staging dataset for the image's file during the
// work, since no call deletes a file.
type Place struct {
	Dataset string
	Staging string
	Name    string // the name for users
}

// Volume returns the path of the image's volume.
func (p Place) Volume() string { return p.Dataset + "/disk" }

// State is the state of a place on the NAS.
type State struct {
	Ready   bool             // the volume is complete
	Dataset *truenas.Dataset // the dataset of the place
	Volume  *truenas.Dataset
	Staging *truenas.Dataset
	Pool    *truenas.Dataset
}

// observed is a state with the time of its reading.
type observed struct {
	State
	at time.Time
}

// Purpose distinguishes prepared images and imported disks.
type Purpose interface {
	Observe(context.Context) (State, error)
	// Done reports whether the place has the wanted result.
	Done(State) bool
	// Marks are the user properties of the place's dataset.
	Marks() map[string]string
	// VolumeMarks are the user properties of the volume. They are set when the complete image is in a file and was verified.
	VolumeMarks(img *disk.Image, file string) map[string]string
	// MayClear refuses to discard objects that are in use.
	MayClear(context.Context, State) error
	// Seal records on the NAS that the volume is complete. It is the last step.
	Seal(ctx context.Context, img *disk.Image, size int64) error
}

// Lander lands images on a NAS.
type Lander struct {
	nas    *truenas.Client
	opener *disk.Opener
	leases *lease.Leases
	locks  *lease.Locks
	claims *ownership.Claims
}

// NewLander returns a Lander. It needs the locks of the process, since TrueNAS runs one conversion at a time.
func NewLander(nas *truenas.Client, opener *disk.Opener, leases *lease.Leases, locks *lease.Locks, claims *ownership.Claims) *Lander {
	return &Lander{nas: nas, opener: opener, leases: leases, locks: locks, claims: claims}
}

// At returns a landing at a place.
func (n *Lander) At(p Place, what Purpose) *Landing {
	return &Landing{lander: n, Place: p, Purpose: what}
}

// Landing is one attempt to make a volume from an image.
type Landing struct {
	lander *Lander
	Place
	Purpose
	Late bool // make the place's dataset only after the image has arrived, so that an image that never arrives leaves no object

	file    string // a file on the NAS that is converted in place; empty: the image is uploaded
	uploads string // the dataset for the upload
	emptied bool   // the upload's dataset is removed

	seen  observed // the state before the landing
	begun func()   // called when the NAS has the record of the landing; may be nil
}

// Fetch opens an image and lands it. It opens an image again and sends it unchanged if the order of its data rules out repacking.
func (l *Landing) Fetch(ctx context.Context, source disk.Source, open func(context.Context, disk.Source) (*disk.Image, error)) error {
	try := func() error {
		img, err := open(ctx, source)
		if err != nil {
			return err
		}
		defer img.Close() //nolint:errcheck // WriteTo has reported what matters.
		return l.land(ctx, img)
	}
	source.Repack = true
	err := try()
	if errors.Is(err, disk.ErrUnordered) {
		source.Repack = false
		err = try()
	}
	return err
}

// land makes a volume from an open image of which only the head was read. It checks the space before it sends data; sealing is the
// last step, so that every sealed volume is complete.
func (l *Landing) land(ctx context.Context, img *disk.Image) error {
	release, err := l.lease(ctx)
	if err != nil || release == nil {
		return err
	}
	if l.begun != nil {
		l.begun()
	}
	err = TakenOver(l.make(ctx, img))
	return errors.Join(err, release())
}

// TakenOver handles "not found" and "exists already" of a landing's own datasets: another process took this landing over,
// because its heartbeat was late.
func TakenOver(err error) error {
	if errors.Is(err, truenas.ErrNotFound) || errors.Is(err, truenas.ErrExists) {
		return fmt.Errorf("%w: another process took over the lease (%w)", truenas.ErrBusy, refusal.Hide(err))
	}
	return err
}

// make fills the volume. It discards an existing volume only after the new image has arrived.
func (l *Landing) make(ctx context.Context, img *disk.Image) error {
	_, isImage := l.Purpose.(imagePurpose)
	media := isImage && img.Format == disk.ISO
	uploads := l.file == "" && !media
	st, err := l.look(ctx, uploads)
	if err != nil || l.Done(st) {
		return err
	}
	if err := l.checkSpace(st, img); err != nil {
		return err
	}
	if st.Volume != nil {
		if err := l.MayClear(ctx, st); err != nil {
			return err
		}
	}
	if media {
		return l.makeMedia(ctx, st, img)
	}
	file := l.file
	if uploads {
		file, err = l.upload(ctx, img)
	} else {
		err = l.stillOurs(ctx)
	}
	if err != nil {
		return err
	}
	size, err := l.prepare(ctx, st, img, file)
	if err != nil {
		return err
	}
	if err := l.lander.writeVolume(ctx, file, l.Volume()); err != nil {
		return err
	}
	return l.complete(ctx, img, size)
}

// look reads the state of the place under the lease, and makes the dataset for the upload at the same time. The release of the
// lease removes that dataset, whatever the result of the landing.
func (l *Landing) look(ctx context.Context, uploads bool) (st State, err error) {
	var g errgroup.Group // Without a common context: a canceled change may still take effect.
	if uploads {
		g.Go(func() error { return l.lander.leases.Make(ctx, l.uploads, l.Name, nil) })
	}
	st, err = l.Observe(ctx)
	return st, errors.Join(err, g.Wait())
}

// complete seals the volume, and removes the uploaded file at the same time: after the conversion the file is not needed, and a
// landing without a seal starts over.
func (l *Landing) complete(ctx context.Context, img *disk.Image, size int64) error {
	var g errgroup.Group
	g.Go(func() error { return l.Seal(ctx, img, size) })
	if l.file == "" {
		l.emptied = destroy.Dataset(ctx, l.lander.nas, l.uploads) == nil // After a failure the release repeats the removal.
	}
	return g.Wait()
}

// stillOurs refuses to continue when another process took over the lease during the upload.
func (l *Landing) stillOurs(ctx context.Context) error {
	staging, err := l.lander.nas.Datasets.Get(ctx, l.Staging)
	if err == nil && staging.LocalUserProperties[lease.PropUploads] != l.uploads {
		err = truenas.ErrNotFound
	}
	return err
}

// prepare makes an empty volume of the right size.
func (l *Landing) prepare(ctx context.Context, st State, img *disk.Image, file string) (size int64, err error) {
	size = (img.VirtualBytes + volumeAlign - 1) / volumeAlign * volumeAlign
	if err := fits(*st.Pool, size); err != nil {
		return 0, err
	}
	if st.Volume != nil {
		// The upload may have taken long, and a VM may use the volume since.
		if err := l.MayClear(ctx, st); err != nil {
			return 0, err
		}
		if err := destroy.Dataset(ctx, l.lander.nas, l.Volume()); err != nil {
			return 0, err
		}
	}
	if err := l.found(ctx, st); err != nil {
		return 0, err
	}
	volume := truenas.DatasetCreate{Name: l.Volume(), Type: truenas.Volume, VolsizeBytes: size, Sparse: true, UserProperties: l.VolumeMarks(img, file)}
	_, err = l.lander.nas.Datasets.Create(ctx, volume)
	return size, err
}

// found makes the place's dataset if it does not exist.
func (l *Landing) found(ctx context.Context, st State) error {
	if st.Dataset != nil {
		return l.touch(ctx, *st.Dataset)
	}
	if err := l.lander.claims.EnsureRoot(ctx, l.Dataset); err != nil {
		return err
	}
	create := truenas.DatasetCreate{Name: l.Dataset, CreateAncestors: true, Comments: l.Name, Deduplication: truenas.DeduplicationOff, UserProperties: l.Marks()}
	_, err := l.lander.nas.Datasets.Create(ctx, create)
	return lease.IgnoreExists(err)
}

// touch renews the record of the last use of an image that is landed again, so that Prune does not remove it before its use.
func (l *Landing) touch(ctx context.Context, image truenas.Dataset) error {
	used, err := time.Parse(time.RFC3339, image.LocalUserProperties[spec.PropUsed])
	if err != nil || time.Since(used) < PruneEvery/2 {
		return nil // The dataset is not an image, or the record is recent.
	}
	return l.lander.Touch(ctx, image.ID)
}

// checkSpace compares the known size of the image with the available space of the pool.
func (l *Landing) checkSpace(st State, img *disk.Image) error {
	if st.Pool == nil {
		return refusal.FailedPrecondition("storage_hint: the NAS has no pool %q", spec.PoolOf(l.Dataset))
	}
	if need := max(img.Bytes, img.LeastBytes); need > st.Pool.AvailableBytes {
		return refusal.New(codes.ResourceExhausted, "no space: the image needs %d MiB during the import, and pool %q has %d MiB available", need>>20, st.Pool.ID, st.Pool.AvailableBytes>>20)
	}
	return fits(*st.Pool, img.VirtualBytes)
}

// upload streams the image to a file on the NAS, without the zeros of a raw disk, and returns the file's path. The length of the
// upload is known beforehand for some images only, and upload compares the checksum before it sends the last byte.
//
// The file is in a dataset of its own whose name is used once. When another process took over the lease and destroyed the dataset,
// TrueNAS creates a folder for the upload, which then blocks no other dataset.
func (l *Landing) upload(ctx context.Context, img *disk.Image) (path string, err error) {
	body := img.Pack()
	defer body.Close() //nolint:errcheck // Its error is the last read's.
	path = "/mnt/" + l.uploads + "/disk" + body.Suffix
	var sent atomic.Int64
	if err := l.lander.nas.Files.Put(ctx, path, landedMode, body, body.Bytes, sent.Store); err != nil {
		return path, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.lander.arrived(ctx, path, sent.Load()) })
	g.Go(func() error { return l.stillOurs(ctx) })
	return path, g.Wait()
}

// arrived compares the size of an uploaded file with the number of sent bytes: middlewared reports success for an upload that the
// web server of the NAS has cut short.
func (n *Lander) arrived(ctx context.Context, path string, sent int64) error {
	info, err := n.nas.Files.Stat(ctx, path)
	if err == nil && info.Size != sent {
		err = fmt.Errorf("%d of %d bytes arrived in %s: %w", info.Size, sent, path, truenas.ErrStalled)
	}
	return err
}

// Observe reads the datasets of a place and its pool.
func (n *Lander) Observe(ctx context.Context, p Place) (State, error) {
	var st State
	list, err := n.nas.Datasets.List(ctx, truenas.Cond("id", "in", []string{p.Dataset, p.Volume(), p.Staging, spec.PoolOf(p.Dataset)}))
	for n, d := range list {
		switch d.ID {
		case p.Dataset:
			st.Dataset = &list[n]
		case p.Volume():
			st.Volume = &list[n]
		case p.Staging:
			st.Staging = &list[n]
		default:
			st.Pool = &list[n]
		}
	}
	return st, err
}
