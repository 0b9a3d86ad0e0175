package server

import (
	"path"
	"regexp"
	"strings"
)

// layout knows where things lie on the NAS, below one configured dataset such as
// "tank/virtrigaud". Another pool has the same tree.
type layout struct {
	dataset string
}

// pool is the configured pool.
func (l layout) pool() string { return poolOf(l.dataset) }

func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

// root is the top of the tree on a pool; "" means the configured one.
func (l layout) root(pool string) string {
	if pool == "" || pool == l.pool() {
		return l.dataset
	}
	_, below, _ := strings.Cut(l.dataset, "/")
	return path.Join(pool, below)
}

// machine is the dataset of a VM of that name on the NAS. It holds the VM's volumes and its seed.
func (l layout) machine(pool, onNAS string) string {
	return l.root(pool) + machinesFolder + onNAS
}

// machinesPattern matches the datasets of all VMs, on every pool.
func (l layout) machinesPattern() string {
	_, below, _ := strings.Cut(l.dataset, "/")
	return "^[^/]+/" + regexp.QuoteMeta(path.Join(below, "vms")) + "/[^/]+$"
}

// inMachine reports whether a volume, or a snapshot of one, lies in the dataset of a VM.
func (l layout) inMachine(volume string) bool {
	ok, _ := regexp.MatchString(l.machinesPattern(), path.Dir(volume))
	return ok
}

// imagesPattern matches the datasets of all images and their volumes, on every pool.
func (l layout) imagesPattern() string {
	_, below, _ := strings.Cut(l.dataset, "/")
	return "^[^/]+/" + regexp.QuoteMeta(below) + imagesFolder + "[^/]+(/disk)?$"
}

// imageStaging is where the image of a dataset lands.
func (l layout) imageStaging(image string) string {
	return l.root(poolOf(image)) + stagingFolder + path.Base(image)
}

// promote is the dataset that says who lets the clones of what is in a dataset go, or copies disks
// into it.
func (l layout) promote(dataset string) string {
	return l.root(poolOf(dataset)) + stagingFolder + promoteFolder + path.Base(dataset)
}

// promotesPattern matches them, on every pool.
func (l layout) promotesPattern() string {
	_, below, _ := strings.Cut(l.dataset, "/")
	return "^[^/]+/" + regexp.QuoteMeta(below+stagingFolder+promoteFolder) + "[^/]+$"
}

// importOf answers the dataset to remove with a VM that had this volume attached, when it is
// one that an import landed in our tree on that pool.
func (l layout) importOf(volume string) (string, bool) {
	folder, name := path.Split(volume)
	imported := strings.TrimSuffix(folder, "/")
	if name == "disk" && path.Dir(imported)+"/" == l.root(poolOf(volume))+importsFolder {
		return imported, true
	}
	return "", false
}

// inTree says whether a dataset is another one or lies below it.
func inTree(dataset, parent string) bool {
	return dataset == parent || strings.HasPrefix(dataset, parent+"/")
}

// zvolPath is how a VM's device names a volume; TrueNAS writes a space as a plus sign.
func zvolPath(volume string) string {
	return devZvol + strings.ReplaceAll(volume, " ", "+")
}

// volumeOf is the volume behind a device's path, or "".
func volumeOf(device string) string {
	volume, ok := strings.CutPrefix(device, devZvol)
	if !ok {
		return ""
	}
	return strings.ReplaceAll(volume, "+", " ")
}
