package landing

import (
	"context"
	"sync/atomic"

	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// mediaMode makes the file readable to the hypervisor's user, no matter which VM used it last.
const mediaMode = 0o644

// IsMedia reports whether a dataset holds an installer ISO.
func IsMedia(d truenas.Dataset) bool {
	return d.Type != truenas.Volume && d.LocalUserProperties[spec.PropMedia] == spec.MediaISO
}

// MediaPath returns the path of an installer ISO.
func MediaPath(d truenas.Dataset) string {
	folder := d.Mountpoint
	if folder == "" {
		folder = "/mnt/" + d.ID
	}
	return folder + "/" + spec.MediaFile
}

// makeMedia lands an installer ISO. It discards an unsealed file with its dataset.
func (l *Landing) makeMedia(ctx context.Context, st State, img *disk.Image) error {
	if st.Volume != nil {
		if err := destroy.Dataset(ctx, l.lander.nas, l.Volume()); err != nil {
			return err
		}
	}
	if err := l.found(ctx, st); err != nil {
		return err
	}
	folder, err := l.lander.nas.Datasets.Create(ctx, truenas.DatasetCreate{Name: l.Volume(), UserProperties: map[string]string{spec.PropProvider: l.lander.leases.Provider(), spec.PropMedia: spec.MediaISO}})
	if err != nil {
		return err
	}
	body := img.Reader()
	defer body.Close() //nolint:errcheck // Its error is the last read's.
	var sent atomic.Int64
	if err := l.lander.nas.Files.Put(ctx, MediaPath(folder), mediaMode, body, img.Bytes, sent.Store); err != nil {
		return err
	}
	if err := l.lander.arrived(ctx, MediaPath(folder), sent.Load()); err != nil {
		return err
	}
	return l.Seal(ctx, img, img.VirtualBytes)
}
