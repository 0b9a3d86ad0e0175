package spec

import "strings"

// CloneSnapshot is the prefix of the snapshots for clones. The rest of the name depends on the clone's name, so that a repeated
// call finds the snapshot.
const CloneSnapshot = "vrclone-"

// AsideInfix separates the name of a disk and a number in the name of a volume that a revert has set aside. Disk names have
// no hyphen.
const AsideInfix = "-aside-"

// AsideOf returns the disk that a volume was set aside for.
func AsideOf(volume string) (disk string, ok bool) {
	disk, _, ok = strings.Cut(volume, AsideInfix)
	return disk, ok
}
