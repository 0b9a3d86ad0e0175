package server

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

// confineFile refuses a file that does not lie in a dataset of images.nas_paths.
func (s *Server) confineFile(field, file string) error {
	dataset := strings.TrimPrefix(file, spec.MountPrefix)
	inside := func(allowed string) bool { return spec.InTree(dataset, allowed) && dataset != allowed }
	if path.Clean(file) != file || !strings.HasPrefix(file, spec.MountPrefix) || !slices.ContainsFunc(s.cfg.NASPaths, inside) {
		return refusal.InvalidArgument(field, "%s does not lie in a dataset that VMs may be made of: add its dataset to the setting images.nas_paths, which has %q", file, s.cfg.NASPaths)
	}
	if spec.InTree(dataset, s.layout.Root(spec.PoolOf(dataset))) {
		return refusal.InvalidArgument(field, "%s is not an image: the provider uses it for work in progress", file)
	}
	return nil
}

// mayRead is confineFile for a file that has to be there, and that no link leads to.
func (s *Server) mayRead(ctx context.Context, field, file string) (truenas.FileInfo, error) {
	if err := s.confineFile(field, file); err != nil {
		return truenas.FileInfo{}, err
	}
	info, err := s.nas.Files.Stat(ctx, file)
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

// landNASFile makes a volume of a file that lies on the NAS already. Nothing is uploaded; what is read of the file is its
// head, which says whether it is a disk that may be converted, and all of it when there is a checksum to compare.
func (s *Server) landNASFile(ctx context.Context, i spec.Image, file string, watch landingWatch) error {
	const field = "image_json.source.libvirt.path"
	info, err := s.mayRead(ctx, field, file)
	if err != nil {
		return err
	}
	vms, err := s.nas.VMs.List(ctx)
	if err != nil {
		return err
	}
	for _, vm := range vms {
		if slices.ContainsFunc(vm.Devices, func(d truenas.Device) bool { return d.Attributes.Path == file }) {
			return refusal.Withheld(refusal.FailedPrecondition("%s: VM %q uses %s", field, vm.Name, file), field+": another VM uses the file")
		}
	}
	img, err := s.judgeNASFile(ctx, field, file, info.Size, i.Job.Source)
	if err != nil {
		return err
	}
	l := &landing{s: s, place: placeOf(i), purpose: imagePurpose{s, i}, begun: watch.begun, file: file}
	defer s.seenImages.outdate()
	return l.land(ctx, img)
}

// judgeNASFile reads the file's head, and refuses what TrueNAS cannot convert where it lies.
func (s *Server) judgeNASFile(ctx context.Context, field, file string, size int64, source disk.Source) (*disk.Image, error) {
	body, err := s.nas.Files.Get(ctx, file)
	if err != nil {
		return nil, err
	}
	source.URL = file
	img, err := s.opener.Judge(ctx, source, body, size)
	if err != nil {
		return nil, err
	}
	defer img.Close() //nolint:errcheck // It is read no further.
	switch {
	case img.Packed():
		return nil, refusal.InvalidArgument(field, "%s is compressed or an archive, which TrueNAS does not unpack: unpack it, or give the image by a url", file)
	case img.Format == disk.ISO:
		return nil, refusal.InvalidArgument(field, "%s is an installer ISO, which is used as a CD-ROM where it lies: let its name end in .iso", file)
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

// checkFile refuses a file on the NAS that a VM may not be made of, unless the VM has its root disk already.
func (s *Server) checkFile(ctx context.Context, want spec.VM, seen *observation) error {
	const field = "image_json.Path"
	if seen.hasRoot(s.layout.VMDataset(want.Pool, want.OnNAS())) {
		return nil
	}
	if want.Class.Hardware.CDROM != "" {
		if _, err := s.mayRead(ctx, spec.HardwareField("cdrom"), want.Class.Hardware.CDROM); err != nil {
			return err
		}
	}
	if file, ok := spec.NASFile(want.Image.Job.Source); ok {
		return s.confineFile(field, file)
	}
	if want.Image.Kind == spec.ImageInstaller {
		_, err := s.mayRead(ctx, field, want.Image.File)
		return err
	}
	return nil
}
