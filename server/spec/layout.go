package spec

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Layout computes the paths on the NAS, below a configured dataset such as "tank/virtrigaud". Another pool has the same tree.
type Layout struct {
	Dataset string
}

// Pool returns the configured pool.
func (l Layout) Pool() string { return PoolOf(l.Dataset) }

// PoolOf returns the pool of a dataset.
func PoolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

// Root returns the top of the tree on a pool; "" means the configured pool.
func (l Layout) Root(pool string) string {
	if pool == "" || pool == l.Pool() {
		return l.Dataset
	}
	_, below, _ := strings.Cut(l.Dataset, "/")
	return path.Join(pool, below)
}

// VMDataset returns the dataset of a VM by its name on the NAS. The dataset holds the VM's volumes and its seed.
func (l Layout) VMDataset(pool, onNAS string) string {
	return l.Root(pool) + VMsFolder + onNAS
}

// DisksDataset returns the dataset for the disks of a VM on a pool: home, the VM's own dataset, or the dataset of the same name in the
// tree on another pool. "" means the pool of home.
func (l Layout) DisksDataset(home, pool string) string {
	if pool == "" || pool == PoolOf(home) {
		return home
	}
	return l.VMDataset(pool, path.Base(home))
}

// VMsPattern matches the datasets of all VMs, on every pool.
func (l Layout) VMsPattern() string {
	_, below, _ := strings.Cut(l.Dataset, "/")
	return "^[^/]+/" + regexp.QuoteMeta(path.Join(below, "vms")) + "/[^/]+$"
}

// InVM reports whether a volume, or a snapshot of a volume, is in the dataset of a VM.
func (l Layout) InVM(volume string) bool {
	ok, _ := regexp.MatchString(l.VMsPattern(), path.Dir(volume))
	return ok
}

// ImagesPattern matches the datasets of all images and their volumes, on every pool.
func (l Layout) ImagesPattern() string {
	_, below, _ := strings.Cut(l.Dataset, "/")
	return "^[^/]+/" + regexp.QuoteMeta(below) + ImagesFolder + "[^/]+(/disk)?$"
}

// ImageStaging returns the staging dataset of an image's dataset.
func (l Layout) ImageStaging(image string) string {
	return l.Root(PoolOf(image)) + StagingFolder + path.Base(image)
}

// HandOverClaim returns the dataset by which a process claims to promote the clones of a dataset's contents, or to copy disks into
// the dataset.
func (l Layout) HandOverClaim(dataset string) string {
	return l.Root(PoolOf(dataset)) + StagingFolder + PromoteFolder + path.Base(dataset)
}

// TreesPattern matches the datasets around the disks of VMs, including imports, on every pool.
func (l Layout) TreesPattern() string {
	_, below, _ := strings.Cut(l.Dataset, "/")
	return "^[^/]+/" + regexp.QuoteMeta(below) + "(" + regexp.QuoteMeta(VMsFolder) + "|" + regexp.QuoteMeta(ImportsFolder) + ")[^/]+$"
}

// HandOverPattern matches the datasets of [Layout.HandOverClaim], on every pool.
func (l Layout) HandOverPattern() string {
	_, below, _ := strings.Cut(l.Dataset, "/")
	return "^[^/]+/" + regexp.QuoteMeta(below+StagingFolder+PromoteFolder) + "[^/]+$"
}

// ImportOf returns the dataset to remove with a VM that had this volume attached, if an import landed the volume in this provider's
// tree on that pool.
func (l Layout) ImportOf(volume string) (string, bool) {
	folder, name := path.Split(volume)
	imported := strings.TrimSuffix(folder, "/")
	if name == "disk" && path.Dir(imported)+"/" == l.Root(PoolOf(volume))+ImportsFolder {
		return imported, true
	}
	return "", false
}

// InTree reports whether a dataset equals another one or is below it.
func InTree(dataset, parent string) bool {
	return dataset == parent || strings.HasPrefix(dataset, parent+"/")
}

// ZvolPath returns the path of a volume in a VM's device; TrueNAS writes a space as a plus sign.
func ZvolPath(volume string) string {
	return DevZvol + strings.ReplaceAll(volume, " ", "+")
}

// VolumeOf returns the volume of a device's path, or "".
func VolumeOf(device string) string {
	volume, ok := strings.CutPrefix(device, DevZvol)
	if !ok {
		return ""
	}
	return strings.ReplaceAll(volume, "+", " ")
}

// RootVolume returns the boot volume of a VM, independent of the device order: a root disk that this provider created, or else the
// first disk that is not an additional disk of this provider.
func (l Layout) RootVolume(volumes []string) string {
	if i := slices.IndexFunc(volumes, func(v string) bool { return path.Base(v) == RootDisk && l.InVM(v) }); i >= 0 {
		return volumes[i]
	}
	for _, volume := range volumes {
		if ours, _ := regexp.MatchString(l.VMsPattern(), path.Dir(volume)); !ours || path.Base(volume) == RootDisk {
			return volume
		}
	}
	return slices.Concat(volumes, []string{""})[0]
}

// HoldsDatasets reports whether a dataset is a parent of the datasets of VMs, images, imports or uploads.
func (l Layout) HoldsDatasets(dataset string) bool {
	root := l.Root(PoolOf(dataset))
	for _, folder := range []string{VMsFolder, ImagesFolder, ImportsFolder, StagingFolder} {
		if dataset == root+strings.TrimSuffix(folder, "/") {
			return true
		}
	}
	return false
}

// IsHandOverClaim reports whether [Layout.HandOverClaim] names this dataset.
func (l Layout) IsHandOverClaim(dataset string) bool {
	ok, _ := regexp.MatchString(l.HandOverPattern(), dataset)
	return ok
}

// HomesPattern matches the dataset of a VM with one of these names on the NAS, on every pool.
func (l Layout) HomesPattern(onNAS ...string) string {
	_, below, _ := strings.Cut(l.Dataset, "/")
	quoted := make([]string, len(onNAS))
	for i, name := range onNAS {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return "^[^/]+/" + regexp.QuoteMeta(below) + VMsFolder + "(" + strings.Join(quoted, "|") + ")$"
}

// RootsPattern matches the roots of the tree on every pool.
func (l Layout) RootsPattern() string {
	return "^[^/]+/" + regexp.QuoteMeta(l.Root("x")[len("x/"):]) + "$"
}

// PromoteFolder is the prefix of the lock datasets of VMs.
const PromoteFolder = "promote-"

// Folders below the provider's dataset, and names in them.
const (
	ImagesFolder  = "/images/"
	ImportsFolder = "/imports/"
	StagingFolder = "/staging/"
	VMsFolder     = "/vms/"
	ReadySnapshot = "ready"
	DevZvol       = "/dev/zvol/"
)
