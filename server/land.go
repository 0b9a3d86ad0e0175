package server

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/lease"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// volumeAlign is the multiple, in bytes, that a volume's size is rounded up to; TrueNAS wants
// one of its block size.
const volumeAlign = 1 << 20

// landedMode is the mode of an uploaded image.
const landedMode = 0o600

// place is where an image lands: a dataset that holds the volume, and one beside it that holds
// the image for the time of the work, since no call deletes a file.
type place struct {
	dataset string
	staging string
	name    string // for people
}

func (p place) volume() string { return p.dataset + "/disk" }

// landState is what the NAS has of a place.
type landState struct {
	ready   bool             // the volume is whole
	dataset *truenas.Dataset // the place's own
	volume  *truenas.Dataset
	staging *truenas.Dataset
	pool    *truenas.Dataset
}

// purpose is what sets prepared images and imported disks apart.
type purpose interface {
	observe(context.Context) (landState, error)
	// done says that what is there is what is wanted.
	done(landState) bool
	// marks are the user properties of the place's dataset.
	marks() map[string]string
	// volumeMarks are those of the volume. All of the image has arrived in a file by then, and was verified.
	volumeMarks(img *disk.Image, file string) map[string]string
	// mayClear refuses to throw away what is there and in use.
	mayClear(context.Context, landState) error
	// seal says on the NAS that the volume is whole. It is the last step.
	seal(ctx context.Context, img *disk.Image, size int64) error
}

// landing is one attempt to make a volume of an image.
type landing struct {
	s *Server
	place
	purpose
	late bool // the place's dataset is made when the image has arrived, so that one that never does leaves nothing

	file    string // on the NAS already, to be converted where it lies; empty: the image is uploaded
	uploads string // the dataset that the image is uploaded into

	begun func() // called when the NAS has the record of the landing; may be nil
}

// fetch opens an image and lands it. An image that turns out to be stored in an order that cannot be repacked is opened again
// and sent as it is.
func (l *landing) fetch(ctx context.Context, source disk.Source, open func(context.Context, disk.Source) (*disk.Image, error)) error {
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

// land takes an open image, of which only the head was read, to a volume. The space is checked
// before anything is sent; sealing is the last step, so that whatever is sealed is whole.
func (l *landing) land(ctx context.Context, img *disk.Image) error {
	release, err := l.lease(ctx)
	if err != nil || release == nil {
		return err
	}
	if l.begun != nil {
		l.begun()
	}
	err = usurped(l.make(ctx, img))
	return errors.Join(err, release())
}

// usurped handles "not found" and "exists already" of a landing's own datasets: another process took this landing over,
// because its heartbeat was late.
func usurped(err error) error {
	if errors.Is(err, truenas.ErrNotFound) || errors.Is(err, truenas.ErrExists) {
		return fmt.Errorf("%w: another process has taken the work over (%w)", truenas.ErrBusy, refusal.Hide(err))
	}
	return err
}

// make fills the volume. What is there already is thrown away when its successor has arrived.
func (l *landing) make(ctx context.Context, img *disk.Image) error {
	st, err := l.observe(ctx)
	if err != nil || l.done(st) {
		return err
	}
	if err := l.room(st, img); err != nil {
		return err
	}
	if st.volume != nil {
		if err := l.mayClear(ctx, st); err != nil {
			return err
		}
	}
	if _, isImage := l.purpose.(imagePurpose); isImage && img.Format == disk.ISO {
		return l.makeMedia(ctx, st, img)
	}
	file := l.file
	if file == "" {
		if file, err = l.upload(ctx, img); err != nil {
			return err
		}
	}
	if err := l.stillOurs(ctx); err != nil {
		return err
	}
	size, err := l.prepare(ctx, st, img, file)
	if err != nil {
		return err
	}
	if err := l.s.convert(ctx, file, l.volume()); err != nil {
		return err
	}
	return l.seal(ctx, img, size)
}

// stillOurs refuses to go on when another process has taken this one for dead during the upload, and has the place now.
func (l *landing) stillOurs(ctx context.Context) error {
	staging, err := l.s.nas.Datasets.Get(ctx, l.staging)
	if err == nil && staging.LocalUserProperties[lease.PropUploads] != l.uploads {
		err = truenas.ErrNotFound
	}
	return err
}

// prepare makes an empty volume of the right size.
func (l *landing) prepare(ctx context.Context, st landState, img *disk.Image, file string) (size int64, err error) {
	size = (img.VirtualBytes + volumeAlign - 1) / volumeAlign * volumeAlign
	if err := fits(*st.pool, size); err != nil {
		return 0, err
	}
	if st.volume != nil {
		if err := destroy.Dataset(ctx, l.s.nas, l.volume()); err != nil {
			return 0, err
		}
	}
	if err := l.found(ctx, st); err != nil {
		return 0, err
	}
	volume := truenas.DatasetCreate{Name: l.volume(), Type: truenas.Volume, VolsizeBytes: size, Sparse: true, UserProperties: l.volumeMarks(img, file)}
	_, err = l.s.nas.Datasets.Create(ctx, volume)
	return size, err
}

// found makes the place's dataset where there is none.
func (l *landing) found(ctx context.Context, st landState) error {
	if st.dataset != nil {
		return l.touch(ctx, *st.dataset)
	}
	if err := l.s.claims.EnsureRoot(ctx, l.dataset); err != nil {
		return err
	}
	create := truenas.DatasetCreate{Name: l.dataset, CreateAncestors: true, Comments: l.name, Deduplication: deduplicationOff, UserProperties: l.marks()}
	_, err := l.s.nas.Datasets.Create(ctx, create)
	return present(err)
}

// touch renews the note of the last use of an image that is landed again, so that it is not removed before it is used.
func (l *landing) touch(ctx context.Context, image truenas.Dataset) error {
	used, err := time.Parse(time.RFC3339, image.LocalUserProperties[spec.PropUsed])
	if err != nil || time.Since(used) < pruneEvery/2 {
		return nil // The dataset is not an image, or the note is recent.
	}
	return l.s.touchImage(ctx, image.ID)
}

// room holds what is known of the image beforehand against what the pool has.
func (l *landing) room(st landState, img *disk.Image) error {
	if st.pool == nil {
		return refusal.FailedPrecondition("storage_hint: the NAS has no pool %q", spec.PoolOf(l.dataset))
	}
	if need := max(img.Bytes, img.LeastBytes); need > st.pool.AvailableBytes {
		return refusal.New(codes.ResourceExhausted, "no space: the image needs %d MiB while it lands, and pool %q has %d MiB", need>>20, st.pool.ID, st.pool.AvailableBytes>>20)
	}
	return fits(*st.pool, img.VirtualBytes)
}

func fits(pool truenas.Dataset, size int64) error {
	if size > pool.AvailableBytes/100*maxVolumePercent {
		return noSpace("storage_hint", size, pool)
	}
	return nil
}

// upload streams the image to a file on the NAS, without the zeros of a raw disk, and returns the file's path. The length of
// what is sent is known beforehand for some images only, and the checksum is compared before the last byte goes out.
//
// The file is in a dataset of its own whose name is used once. When another process has taken the work over and destroyed the
// dataset, TrueNAS creates a folder for the upload, which then blocks no other dataset.
func (l *landing) upload(ctx context.Context, img *disk.Image) (path string, err error) {
	if err := l.s.leases.Make(ctx, l.uploads, l.name, nil); err != nil {
		return "", err
	}
	body := img.Pack()
	defer body.Close() //nolint:errcheck // Its error is the last read's.
	path = "/mnt/" + l.uploads + "/disk" + body.Suffix
	var sent atomic.Int64
	if err := l.s.nas.Files.Put(ctx, path, landedMode, body, body.Bytes, sent.Store); err != nil {
		return path, err
	}
	return path, l.s.arrived(ctx, path, sent.Load())
}

// arrived compares the size of an uploaded file with what was sent: an upload that the web server of the NAS has ended too
// early is a success for middlewared.
func (s *Server) arrived(ctx context.Context, path string, sent int64) error {
	info, err := s.nas.Files.Stat(ctx, path)
	if err == nil && info.Size != sent {
		err = fmt.Errorf("%d of %d bytes arrived in %s: %w", info.Size, sent, path, truenas.ErrStalled)
	}
	return err
}

// observePlace reads the datasets of a place with those of its pool.
func (s *Server) observePlace(ctx context.Context, p place) (landState, error) {
	var st landState
	list, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "in", []string{p.dataset, p.volume(), p.staging, spec.PoolOf(p.dataset)}))
	for n, d := range list {
		switch d.ID {
		case p.dataset:
			st.dataset = &list[n]
		case p.volume():
			st.volume = &list[n]
		case p.staging:
			st.staging = &list[n]
		default:
			st.pool = &list[n]
		}
	}
	return st, err
}
