package server

import (
	"context"

	"virtrigaud-provider-truenas/server/spec"
)

// checkFile refuses a file on the NAS that a VM may not be made of, unless the VM has its root disk already.
func (s *Server) checkFile(ctx context.Context, want spec.VM, seen *observation) error {
	const field = "image_json.Path"
	if seen.hasRoot(s.layout.VMDataset(want.Pool, want.OnNAS())) {
		return nil
	}
	if want.Class.Hardware.CDROM != "" {
		if _, err := s.images.MayRead(ctx, spec.HardwareField("cdrom"), want.Class.Hardware.CDROM); err != nil {
			return err
		}
	}
	if file, ok := spec.NASFile(want.Image.Job.Source); ok {
		return s.images.ConfineFile(field, file)
	}
	if want.Image.Kind == spec.ImageInstaller {
		_, err := s.images.MayRead(ctx, field, want.Image.File)
		return err
	}
	return nil
}
