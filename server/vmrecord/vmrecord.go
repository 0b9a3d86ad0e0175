package vmrecord

import (
	"path"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Name returns the name of a VM for messages: the name that its owner gave it, if the record proves that name, else the name on the
// NAS.
func Name(vm truenas.VM) string {
	if m, ok := Mark(vm); ok && m.Name != "" {
		return m.Name
	}
	return vm.Name
}

// Active reports whether a VM holds its devices: it runs or is suspended.
func Active(vm truenas.VM) bool {
	return vm.Status.State == truenas.StateRunning || vm.Status.State == truenas.StateSuspended
}

// Mark reads the mark from the description of a VM. It is valid only if the UUID is derived from it: a clone that was made in
// TrueNAS has the description of the original and another UUID.
func Mark(vm truenas.VM) (spec.Mark, bool) {
	m, ok := spec.ParseMark(vm.Description)
	return m, ok && m.ID() == strings.ToLower(vm.UUID)
}

// Disks returns the volumes of a VM's disks in boot order: the first is the boot disk.
func Disks(vm truenas.VM) []string {
	devices := slices.Clone(vm.Devices)
	slices.SortStableFunc(devices, func(a, b truenas.Device) int {
		if a.Order != b.Order {
			return a.Order - b.Order
		}
		return int(a.ID - b.ID)
	})
	var disks []string
	for _, d := range devices {
		if volume := spec.VolumeOf(d.Attributes.Path); volume != "" && d.Attributes.DType == truenas.DeviceDisk {
			disks = append(disks, volume)
		}
	}
	return disks
}

// Places lists the datasets that contain a VM's disks and files, or are themselves such disks. A disk that is a device of the NAS
// has none.
func Places(vm truenas.VM) []string {
	var places []string
	for _, d := range vm.Devices {
		place := spec.VolumeOf(d.Attributes.Path)
		if file, ok := strings.CutPrefix(d.Attributes.Path, "/mnt/"); ok {
			place = path.Dir(file)
		}
		if place != "" {
			places = append(places, place)
		}
	}
	return places
}

// CPUs returns the number of virtual CPUs.
func CPUs(vm truenas.VM) int { return vm.VCPUs * vm.Cores * vm.Threads }

// MACs returns the canonical MAC addresses of the NICs.
func MACs(vm truenas.VM) []string {
	var list []string
	for _, d := range vm.Devices {
		if mac := MAC(d); mac != "" {
			list = append(list, mac)
		}
	}
	return list
}

// Serials returns the serials of the disks in the guest, as "volume=serial", in boot order.
func Serials(vm truenas.VM) []string {
	var list []string
	for _, d := range vm.Devices {
		if volume := spec.VolumeOf(d.Attributes.Path); volume != "" && d.Attributes.Serial != "" {
			list = append(list, path.Base(volume)+"="+d.Attributes.Serial)
		}
	}
	return list
}

// Volumes returns the volumes of all devices, in the order of the record.
func Volumes(vm truenas.VM) []string {
	var list []string
	for _, d := range vm.Devices {
		if volume := spec.VolumeOf(d.Attributes.Path); volume != "" {
			list = append(list, volume)
		}
	}
	return list
}

// CDROMs lists the files in a VM's CD-ROM drives, without seeds.
func CDROMs(vm truenas.VM) []string {
	var paths []string
	for _, d := range vm.Devices {
		if d.Attributes.DType == truenas.DeviceCDROM && !strings.Contains(d.Attributes.Path, "/seed-") {
			paths = append(paths, d.Attributes.Path)
		}
	}
	return paths
}

// IsDisk matches the disk device that has this volume.
func IsDisk(volume string) func(truenas.Device) bool {
	return func(d truenas.Device) bool {
		return d.Attributes.DType == truenas.DeviceDisk && d.Attributes.Path == spec.ZvolPath(volume)
	}
}

// InOrder reports whether a VM's disks have the desired order: the root disk, which is the first in the list, before all
// others, and the rest in the order of the list. Disks that the VM lacks do not count.
func InOrder(vm truenas.VM, wanted []string) bool {
	disks := Disks(vm)
	has := func(volume string) bool { return slices.Contains(disks, volume) }
	present := slices.DeleteFunc(slices.Clone(wanted), func(volume string) bool { return !has(volume) })
	if len(present) == 0 {
		return true
	}
	among := slices.DeleteFunc(slices.Clone(disks), func(volume string) bool { return !slices.Contains(present, volume) })
	return disks[0] == present[0] && slices.Equal(among, present)
}
