package spec

import (
	"fmt"

	"virtrigaud-provider-truenas/server/refusal"
)

// maxDisks and maxNICs bound a VM's devices.
const (
	maxDisks = 64
	MaxNICs  = 16
)

// ExtraDisk is an additional disk of a VM.
type ExtraDisk struct {
	Name    string
	Volume  string // the volume's name below the VM's dataset
	SizeGiB int64
	Thick   bool
	Thin    bool   // the request names the type thin
	Pool    string // the requested pool; empty: that of the VM's dataset
}

type diskJSON struct {
	SizeGiB int64
	Type    string
	Name    string

	StorageClass string // a pool
}

// ParseDisks reads a list of additional disks, without the root disk; field is its name in the request.
func ParseDisks(field, text string) ([]ExtraDisk, error) {
	var list []diskJSON
	if err := DecodeJSON(field, text, &list); err != nil {
		return nil, err
	}
	if len(list) > maxDisks {
		return nil, refusal.InvalidArgument(field, "%d disks given; at most %d are allowed", len(list), maxDisks)
	}
	disks, seen := make([]ExtraDisk, 0, len(list)), map[string]bool{}
	for i, j := range list {
		d, err := parseDisk(fmt.Sprintf("%s[%d]", field, i), i, j)
		if err != nil {
			return nil, err
		}
		if seen[d.Volume] {
			return nil, refusal.InvalidArgument(fmt.Sprintf("%s[%d].Name", field, i), "%q is given twice", d.Name)
		}
		seen[d.Volume] = true
		disks = append(disks, d)
	}
	return disks, nil
}

func parseDisk(at string, i int, j diskJSON) (ExtraDisk, error) {
	d := ExtraDisk{Name: j.Name, SizeGiB: j.SizeGiB, Pool: j.StorageClass}
	if d.Name == "" {
		d.Name = fmt.Sprintf("disk%d", i+1)
	}
	if err := CheckName(at+".Name", d.Name); err != nil {
		return ExtraDisk{}, err
	}
	if d.SizeGiB < 1 || d.SizeGiB > maxDiskGiB {
		return ExtraDisk{}, refusal.InvalidArgument(at+".SizeGiB", "%d; allowed are 1 to %d GiB", d.SizeGiB, maxDiskGiB)
	}
	if d.Pool != "" && !ValidPool(d.Pool) {
		return ExtraDisk{}, refusal.InvalidArgument(at+".StorageClass", "%q is not the name of a pool; nested paths are not allowed here", d.Pool)
	}
	d.Volume = diskVolumeName(d.Name)
	var err error
	d.Thick, err = parseDiskType(at+".Type", j.Type)
	d.Thin = j.Type != "" && !d.Thick
	return d, err
}
