package vmrecord

import (
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// UsesOf returns the filters for the VMs that use a dataset or its contents. TrueNAS treats a space in the path of a volume as a
// plus sign, so the filters match both.
func UsesOf(dataset string) []truenas.Filter {
	var filters []truenas.Filter
	for _, place := range slices.Compact([]string{spec.ZvolPath(dataset), spec.DevZvol + dataset, "/mnt/" + dataset}) {
		filters = append(filters, truenas.Where(pathsOfVM, place), truenas.Cond(pathsOfVM, "^", place+"/"))
	}
	return filters
}

// pathsOfVM are the paths of all devices of a VM, for filters.
const pathsOfVM = "devices.*.attributes.path"

// UsersOf lists the names of other VMs that use a dataset or an object in it.
func UsersOf(vms []truenas.VM, dataset string, except int64) []string {
	var users []string
	for _, vm := range vms {
		if vm.ID == except {
			continue
		}
		for _, d := range vm.Devices {
			volume := spec.VolumeOf(d.Attributes.Path)
			if volume == "" {
				volume = strings.TrimPrefix(d.Attributes.Path, "/mnt/")
			}
			if volume != "" && spec.InTree(volume, dataset) {
				users = append(users, vm.Name)
				break
			}
		}
	}
	return users
}
