package server

import (
	"fmt"

	"virtrigaud-provider-truenas/server/refusal"
)

// maxDisks and maxNICs bound a VM's devices.
const (
	maxDisks = 64
	maxNICs  = 16
)

// extraDisk is an additional disk of a VM.
type extraDisk struct {
	name    string
	volume  string // its volume's name below the VM's dataset
	sizeGiB int64
	thick   bool
	thin    bool // asked for by name, which a missing type is not
}

type diskJSON struct {
	SizeGiB int64
	Type    string
	Name    string
}

// parseDisks reads a list of additional disks, which the root disk is not among; field is where it
// stands in the request.
func parseDisks(field, text string) ([]extraDisk, error) {
	var list []diskJSON
	if err := decodeJSON(field, text, &list); err != nil {
		return nil, err
	}
	if len(list) > maxDisks {
		return nil, refusal.InvalidArgument(field, "%d disks given; at most %d are allowed", len(list), maxDisks)
	}
	disks, seen := make([]extraDisk, 0, len(list)), map[string]bool{}
	for i, j := range list {
		d, err := parseDisk(fmt.Sprintf("%s[%d]", field, i), i, j)
		if err != nil {
			return nil, err
		}
		if seen[d.volume] {
			return nil, refusal.InvalidArgument(fmt.Sprintf("%s[%d].Name", field, i), "%q is given twice", d.name)
		}
		seen[d.volume] = true
		disks = append(disks, d)
	}
	return disks, nil
}

func parseDisk(at string, i int, j diskJSON) (extraDisk, error) {
	d := extraDisk{name: j.Name, sizeGiB: j.SizeGiB}
	if d.name == "" {
		d.name = fmt.Sprintf("disk%d", i+1)
	}
	if err := checkName(at+".Name", d.name); err != nil {
		return extraDisk{}, err
	}
	if d.sizeGiB < 1 || d.sizeGiB > maxDiskGiB {
		return extraDisk{}, refusal.InvalidArgument(at+".SizeGiB", "%d; allowed are 1 to %d GiB", d.sizeGiB, maxDiskGiB)
	}
	d.volume = diskVolumeName(d.name)
	var err error
	d.thick, err = parseDiskType(at+".Type", j.Type)
	d.thin = j.Type != "" && !d.thick
	return d, err
}
