package truenas

import "context"

var vmExport = method[none]{"vm.export_disk_image", job}

// ExportDiskImage starts to write a volume into a new file in directory, named vmdisk-<last part of
// the volume's name>.<format>. Only 25.04.2 and 25.10 have it; 25.10 and later have
// [Devices.Convert].
func (s VMs) ExportDiskImage(ctx context.Context, zvol, directory, format string) (JobID, error) {
	if err := s.c.need(ctx, vmExport.name, R25_04_2, R25_10); err != nil {
		return 0, err
	}
	return vmExport.start(ctx, s.c, map[string]string{"zvol": zvol, "directory": directory, "format": format})
}
