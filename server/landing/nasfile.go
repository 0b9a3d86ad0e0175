package landing

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// ConfineFile refuses a file outside the datasets of images.nas_paths.
func (p *Images) ConfineFile(field, file string) error {
	dataset := strings.TrimPrefix(file, spec.MountPrefix)
	inside := func(allowed string) bool { return spec.InTree(dataset, allowed) && dataset != allowed }
	if path.Clean(file) != file || !strings.HasPrefix(file, spec.MountPrefix) || !slices.ContainsFunc(p.cfg.NASPaths, inside) {
		return refusal.InvalidArgument(field, "%s lies outside of the setting images.nas_paths, which has %q; add its dataset there", file, p.cfg.NASPaths)
	}
	if spec.InTree(dataset, p.cfg.Layout.Root(spec.PoolOf(dataset))) {
		return refusal.InvalidArgument(field, "%s is not an image: the provider uses it for work in progress", file)
	}
	return nil
}

// MayRead is ConfineFile for a file that must exist, with a path without links.
func (p *Images) MayRead(ctx context.Context, field, file string) (truenas.FileInfo, error) {
	if err := p.ConfineFile(field, file); err != nil {
		return truenas.FileInfo{}, err
	}
	info, err := p.lander.nas.Files.Stat(ctx, file)
	switch {
	case errors.Is(err, truenas.ErrNotFound):
		return info, refusal.FailedPrecondition("%s: %s is not on the NAS", field, file)
	case err != nil:
		return info, err
	case info.Type != "FILE" || info.Path != file:
		return info, refusal.InvalidArgument(field, "%s is a link or not a file; give the path of the file itself", file)
	}
	return info, nil
}

// landNASFile makes a volume from a file on the NAS, without an upload. It reads the head of the file, which shows whether it is a
// convertible disk, and the complete file if there is a checksum to compare.
func (p *Images) landNASFile(ctx context.Context, i spec.Image, file string, watch landingWatch) error {
	const field = "image_json.source.libvirt.path"
	info, err := p.MayRead(ctx, field, file)
	if err != nil {
		return err
	}
	vms, err := p.lander.nas.VMs.List(ctx)
	if err != nil {
		return err
	}
	for _, vm := range vms {
		if slices.ContainsFunc(vm.Devices, func(d truenas.Device) bool { return d.Attributes.Path == file }) {
			return refusal.Withheld(refusal.FailedPrecondition("%s: VM %q uses %s", field, vm.Name, file), field+": another VM uses the file")
		}
	}
	img, err := p.judgeNASFile(ctx, field, file, info.Size, i.Job.Source)
	if err != nil {
		return err
	}
	l := p.lander.At(placeOf(i), imagePurpose{p, i})
	l.seen, l.begun, l.file = watch.seen, watch.begun, file
	defer p.cfg.Changed()
	return l.land(ctx, img)
}

// judgeNASFile reads the file's head, and refuses a file that TrueNAS cannot convert in place.
func (p *Images) judgeNASFile(ctx context.Context, field, file string, size int64, source disk.Source) (*disk.Image, error) {
	body, err := p.lander.nas.Files.Get(ctx, file)
	if err != nil {
		return nil, err
	}
	source.URL = file
	img, err := p.lander.opener.Judge(ctx, source, body, size)
	if err != nil {
		return nil, err
	}
	defer img.Close() //nolint:errcheck // It is read no further.
	switch {
	case img.Packed():
		return nil, refusal.InvalidArgument(field, "%s is compressed or an archive, which TrueNAS does not unpack: unpack it, or give the image by a url", file)
	case img.Format == disk.ISO:
		return nil, refusal.InvalidArgument(field, "%s is an installer ISO, which VMs use in place as a CD-ROM: rename it to end in .iso", file)
	case path.Ext(file) != img.Suffix():
		return nil, refusal.InvalidArgument(field, "%s is a %s image, which TrueNAS converts only when its name ends in %s: rename it", file, img.Format, img.Suffix())
	}
	if source.Checksum != "" {
		if _, err := img.WriteTo(io.Discard); err != nil {
			return nil, err
		}
	}
	return img, nil
}
