package settings

import (
	"maps"
	"slices"
	"strings"
)

// Values are the settings of a class. A zero value is an omitted setting.
type Values struct {
	OS string // linux or windows: selects the defaults of other settings

	CPUMode, CPUModel       string
	Sockets, Cores, Threads int64
	TopologyExtension       *bool
	CPUSet, NodeSet         string
	PinVCPUs                *bool
	HideFromMSR             *bool
	HyperV                  *bool
	Clock                   string
	MachineType             string
	ShutdownTimeout         int64 // seconds
	CDROM                   string
	Display                 string
	DisplayBind             string
	DisplayResolution       string
	PCI, USB                []string

	Boot, BootOnce       string // the boot sources: of every start, and of the next one
	Media, MediaChecksum string // the ISO in the CD-ROM drive, or NoMedia

	disks map[string]Disk // by name; "" applies to all disks
	given []given         // in the order of the table
}

// Disk holds the settings of a disk. A zero value is an omitted setting.
type Disk struct {
	Bus, IO                       string
	LogicalSector, PhysicalSector string // bytes
	BlockSize                     string // of the volume
	Compression, Sync             string
	Deduplication                 string
}

// RootDisk is the name of the root disk in the key of a setting.
const RootDisk = "root"

// given is a value of the request.
type given struct {
	key   string
	value string
	row   Setting
}

// Disk returns the settings of the disk with that name. A setting for the disk overrides the setting for all disks.
func (v Values) Disk(name string) Disk {
	all, own := v.disks[""], v.disks[name]
	for _, row := range Table() {
		if row.OfDisk() && *row.disk(&own) == "" {
			*row.disk(&own) = *row.disk(&all)
		}
	}
	return own
}

// Disks lists the disks with their own settings, without the root disk.
func (v Values) Disks() []string {
	names := slices.Sorted(maps.Keys(v.disks))
	return slices.DeleteFunc(names, func(name string) bool { return name == "" || name == RootDisk })
}

// KeyFor returns the key that gave a setting of a disk: the disk's own, or the key for all disks.
func (v Values) KeyFor(name, disk string) string {
	own := Prefix + name + "." + disk
	if slices.ContainsFunc(v.given, func(g given) bool { return g.key == own }) {
		return own
	}
	return Prefix + name
}

// DiskKey returns the first key that names a disk.
func (v Values) DiskKey(disk string) string {
	for _, g := range v.given {
		if strings.HasSuffix(g.key, "."+disk) {
			return g.key
		}
	}
	return Prefix
}

// GivenFor reports whether a setting was given with the name of a disk.
func (v Values) GivenFor(name, disk string) bool { return v.KeyFor(name, disk) != Prefix+name }

// Given reports whether the setting of that name was given, for any disk in case of a disk setting.
func (v Values) Given(name string) bool {
	return slices.ContainsFunc(v.given, func(g given) bool { return g.row.Name == name })
}
