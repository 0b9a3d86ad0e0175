package seed

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/kdomanski/iso9660"
)

// The parts of an ISO 9660 image, in sectors of 2048 bytes.
const (
	isoSector = 2048
	isoSystem = 16 // sectors of the system area, for boot loaders
	isoRoot   = 18 // sector of the root directory, behind two descriptors
)

// isoImage writes files into an image with one directory. Unlike iso9660.ImageWriter it needs no folder of files, because the
// contents of a seed are secret and must not be on the provider's disk. Names are lower case, as in all seeds.
func isoImage(label string, files map[string][]byte) ([]byte, error) {
	names := slices.Sorted(maps.Keys(files))
	root := isoEntry("\x00", isoRoot, isoSector)
	root.FileFlags = 2 // a directory
	parent := root.Clone()
	parent.Identifier = "\x01"
	entries, next := []*iso9660.DirectoryEntry{root, &parent}, isoRoot+1
	for _, name := range names {
		if len(files[name]) > math.MaxInt32 {
			return nil, fmt.Errorf("%s has %d bytes", name, len(files[name]))
		}
		entries = append(entries, isoEntry(name+";1", next, len(files[name])))
		next += sectors(len(files[name]))
	}
	image := bytes.NewBuffer(make([]byte, isoSystem*isoSector, next*isoSector))
	if err := isoDescriptors(image, label, root, next); err != nil {
		return nil, err
	}
	for _, entry := range entries {
		encoded, err := entry.MarshalBinary()
		if err != nil {
			return nil, err
		}
		image.Write(encoded)
	}
	if image.Len() > (isoRoot+1)*isoSector {
		return nil, fmt.Errorf("%d files do not fit into one directory", len(names))
	}
	for _, name := range names {
		fill(image)
		image.Write(files[name])
	}
	fill(image)
	return image.Bytes(), nil
}

// isoDescriptors writes the two sectors that identify the image.
func isoDescriptors(image *bytes.Buffer, label string, root *iso9660.DirectoryEntry, sectors int) error {
	now := iso9660.VolumeDescriptorTimestampFromTime(time.Now())
	primary, err := iso9660.PrimaryVolumeDescriptorBody{
		SystemIdentifier: runtime.GOOS, VolumeIdentifier: label, VolumeSpaceSize: int32(sectors), //nolint:gosec // A few.
		VolumeSetSize: 1, VolumeSequenceNumber: 1, LogicalBlockSize: isoSector, RootDirectoryEntry: root,
		VolumeCreationDateAndTime: now, VolumeModificationDateAndTime: now, VolumeEffectiveDateAndTime: now, FileStructureVersion: 1,
	}.MarshalBinary()
	if err != nil {
		return err
	}
	copy(primary, "\x01CD001\x01")
	image.Write(primary)
	image.WriteString("\xffCD001\x01")
	fill(image)
	return nil
}

func isoEntry(name string, sector, size int) *iso9660.DirectoryEntry {
	return &iso9660.DirectoryEntry{
		ExtentLocation: int32(sector), ExtentLength: uint32(size), Identifier: name, VolumeSequenceNumber: 1, //nolint:gosec // It was checked.
	}
}

func sectors(size int) int { return (size + isoSector - 1) / isoSector }

// fill ends a sector with zeros.
func fill(image *bytes.Buffer) {
	if rest := image.Len() % isoSector; rest != 0 {
		image.Write(make([]byte, isoSector-rest))
	}
}
