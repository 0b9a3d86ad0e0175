package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas"
)

// User properties of images and of their snapshots.
const (
	propSource   = "virtrigaud:source"   // the URL, when it holds no secrets
	propFormat   = "virtrigaud:format"   // as announced
	propChecksum = "virtrigaud:checksum" // type:hexadecimal, of the file as published
	propBytes    = "virtrigaud:bytes"    // the disk's size
	propUsed     = "virtrigaud:used"     // when a VM was last made from it, RFC 3339
)

// volumeAlign is the multiple, in bytes, that a volume's size is rounded up to; TrueNAS wants
// one of its block size.
const volumeAlign = 1 << 20

// imageMode is the mode of an uploaded image.
const imageMode = 0o600

// landing is one attempt to land an image.
type landing struct {
	s        *Server
	image    image
	progress func(disk.Progress)
}

// land makes an image ready. The source is opened and judged before anything is made on the
// NAS; the snapshot is the last step, so that whatever has it is whole.
func (s *Server) land(ctx context.Context, i image, progress func(disk.Progress)) error {
	l := &landing{s: s, image: i, progress: progress}
	source := i.spec.source
	source.Progress = progress
	img, err := s.opener.Open(ctx, source)
	if err != nil {
		return err
	}
	defer img.Close() //nolint:errcheck // What matters of it was said by WriteTo.
	release, err := s.lease(ctx, i)
	if err != nil || release == nil {
		return err
	}
	err = l.make(ctx, img)
	return errors.Join(err, release())
}

// make fills the volume. Whatever an earlier attempt left in it is thrown away, but for a
// conversion that is still running: its file was complete and verified, so it is waited for.
func (l *landing) make(ctx context.Context, img *disk.Image) error {
	st, err := l.s.observeImage(ctx, l.image)
	if err != nil || (st.ready && !l.image.spec.force) {
		return err
	}
	if err := l.room(st, img); err != nil {
		return err
	}
	if st.volume != nil {
		if err := l.clear(ctx, st); err != nil {
			return err
		}
	}
	path := "/mnt/" + l.image.staging() + "/image" + img.Suffix()
	if err := l.upload(ctx, path, img); err != nil {
		return err
	}
	size := (img.VirtualBytes + volumeAlign - 1) / volumeAlign * volumeAlign
	if err := l.fits(st, size); err != nil {
		return err
	}
	volume := truenas.DatasetCreate{Name: l.image.volume(), Type: truenas.Volume, VolsizeBytes: size, Sparse: true}
	if _, err := l.s.nas.Datasets.Create(ctx, volume); err != nil {
		return err
	}
	if err := l.s.convert(ctx, path, l.image.volume()); err != nil {
		return err
	}
	return l.seal(ctx, img, size)
}

// clear removes what an earlier attempt left. An image that has clones is never touched: force
// then has to be given up.
func (l *landing) clear(ctx context.Context, st imageState) error {
	if st.ready {
		clones, err := l.s.nas.Datasets.List(ctx, truenas.Where("origin.value", l.image.snapshot()))
		if err != nil {
			return err
		}
		if len(clones) > 0 {
			return conflict("image_json.prepare.force: %s has %d clones, %s among them; an image in use cannot be made anew", l.image.snapshot(), len(clones), clones[0].ID)
		}
	}
	return destroy(ctx, l.s.nas, l.image.volume())
}

// room holds what is known of the image beforehand against what the pool has.
func (l *landing) room(st imageState, img *disk.Image) error {
	if st.pool == nil {
		return conflict("storage_hint: the NAS has no pool %q", poolOf(l.image.root))
	}
	if need := max(img.Bytes, img.LeastBytes); need > st.pool.AvailableBytes {
		return refused(codes.ResourceExhausted, "no space: the image needs %d MiB while it lands, and pool %q has %d MiB", need>>20, st.pool.ID, st.pool.AvailableBytes>>20)
	}
	return l.fits(st, img.VirtualBytes)
}

func (l *landing) fits(st imageState, size int64) error {
	if size > st.pool.AvailableBytes/100*maxVolumePercent {
		return noSpace("storage_hint", size, *st.pool)
	}
	return nil
}

// upload streams the image to the NAS. The length of what is sent is known beforehand for some
// images only, and the checksum is compared before the last byte goes out.
func (l *landing) upload(ctx context.Context, path string, img *disk.Image) error {
	body := img.Reader()
	defer body.Close() //nolint:errcheck // Its error is the last read's.
	return l.s.nas.Files.Put(ctx, path, imageMode, body, img.Bytes, nil)
}

// seal takes the snapshot that says "this is an image", with what it was made from.
func (l *landing) seal(ctx context.Context, img *disk.Image, size int64) error {
	props := l.image.properties(l.s.cfg.ID)
	props[propBytes] = strconv.FormatInt(size, 10)
	if img.Sum != "" {
		props[propChecksum] = l.image.spec.source.ChecksumType + ":" + img.Sum
	}
	_, err := l.s.nas.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: l.image.volume(), Name: readySnapshot, UserProperties: props})
	return present(err)
}

// properties mark the image's dataset, and let another process take the work up.
func (i image) properties(provider string) map[string]string {
	props := map[string]string{propProvider: provider, propName: i.name, propUsed: time.Now().UTC().Format(time.RFC3339)}
	if source := i.spec.source; !secretive(source.URL) {
		props[propSource] = source.URL
		if source.Format != "" {
			props[propFormat] = source.Format
		}
		if source.Checksum != "" {
			props[propChecksum] = source.ChecksumType + ":" + source.Checksum
		}
	}
	return props
}

// secretive says whether a URL may hold a secret: user information, or a query, which is where
// presigned URLs have their signature.
func secretive(text string) bool {
	u, err := url.Parse(text)
	return err != nil || u.User != nil || u.RawQuery != ""
}

// convert writes a file on the NAS onto a volume, by whichever method the release has. One
// conversion runs at a time: TrueNAS keeps a queue of one, and answers a third call with the
// second's job.
func (s *Server) convert(ctx context.Context, file, volume string) error {
	unlock, err := s.locks.lock(ctx, "convert")
	if err != nil {
		return err
	}
	defer unlock()
	// The older method takes the volume's name where the newer one takes its path.
	begin, target := s.nas.Devices.Convert, zvolPath(volume)
	if !s.nas.Release().AtLeast(truenas.R25_10) {
		begin, target = s.nas.VMs.ImportDiskImage, volume
	}
	_, err = patiently(ctx, func() (truenas.Job, error) {
		job, err := begin(ctx, file, target)
		if err != nil {
			return truenas.Job{}, err
		}
		return s.nas.Jobs.Wait(ctx, job, nil)
	})
	if err != nil {
		return fmt.Errorf("writing %s: %w", volume, err)
	}
	return nil
}
