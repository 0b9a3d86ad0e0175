package server

import (
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
)

// imageKind says what a VM's root disk is made from.
type imageKind int

const (
	imageNone      imageKind = iota // a blank disk
	imageClone                      // a clone of a snapshot
	imageAttach                     // that very volume
	imageURL                        // something that has to be fetched first
	imageInstaller                  // a blank disk, and an ISO on the NAS in a CD-ROM drive
)

// imageRef is where a root disk comes from.
type imageRef struct {
	kind   imageKind
	volume string    // the volume on the NAS, "tank/virtrigaud/images/k/disk"
	snap   string    // the snapshot to clone, with its volume: "tank/…/disk@ready"
	spec   imageSpec // of something that has to be fetched
	file   string    // the ISO on the NAS

	answered bool // the path is what ImagePrepare answered and not what somebody wrote into a VMImage
	foreign  bool // the manager says that it is not the disk that a migration of this VM landed

	prepared *image // the prepared image that it is, or is going to be
}

type imageJSON struct {
	TemplateName string
	Path         string
	URL          string
	Format       string
	Checksum     string
	ChecksumType string

	// ImportedDisk says whether Path is the disk that this VM's own migration landed; only that one may be attached. Managers
	// before line 0.4 do not send it, and then the path has to tell.
	ImportedDisk *bool
}

const (
	imagesFolder   = "/images/"
	importsFolder  = "/imports/"
	stagingFolder  = "/staging/"
	machinesFolder = "/vms/"
	readySnapshot  = "ready"
	devZvol        = "/dev/zvol/"
)

// parseImage reads image_json. A snapshot and a prepared image are cloned. Any other volume is attached: of a manager that
// sends ImportedDisk when that is true only, of an older one by the path alone.
func parseImage(text string) (imageRef, error) {
	var j imageJSON
	if err := decodeJSON("image_json", text, &j); err != nil {
		return imageRef{}, err
	}
	if err := checkFormat("image_json.Format", announced(j.Format)); err != nil {
		return imageRef{}, err
	}
	switch {
	case j.TemplateName != "":
		return imageRef{}, refusal.InvalidArgument("image_json.TemplateName", "%q: TrueNAS has no templates; give Path (a snapshot or a volume on the NAS)", j.TemplateName)
	case j.Path != "" && j.URL != "":
		return imageRef{}, refusal.InvalidArgument("image_json", "gives both Path and URL; give one")
	case isInstallerFile(j.Path):
		return imageRef{kind: imageInstaller, file: j.Path}, nil
	case aliasOf(j.Path) != "", strings.HasPrefix(j.Path, mountedUnder):
		spec, err := parseImageJob(text)
		return imageRef{kind: imageURL, spec: spec}, err
	case j.Path != "":
		ref, err := parseImagePath(j.Path)
		ref.answered = j.ImportedDisk != nil && !strings.HasPrefix(j.Path, "/")
		ref.foreign = j.ImportedDisk != nil && !*j.ImportedDisk
		return ref, err
	case j.URL != "":
		spec, err := parseImageJob(text)
		return imageRef{kind: imageURL, spec: spec}, err
	case j.Format == "template" || j.Checksum != "":
		return imageRef{}, refusal.InvalidArgument("image_json.Path", "is empty: of a VMImage only source.libvirt (url or path) reaches a VM; write the image's source there")
	}
	return imageRef{}, nil
}

// aliasOf is the URL that a path stands for, or "". A VMImage of line 0.4 has a field for http URLs only, and its path has to
// begin with a slash: /oci://registry.example/disk:1 and /s3://bucket/key are what it can hold, and so are the forms without a
// colon. Line 0.3 also takes the URL itself.
func aliasOf(path string) string {
	for _, scheme := range []string{"oci", "s3"} {
		for _, prefix := range []string{"/" + scheme + "://", "/" + scheme + "/"} {
			if rest, ok := strings.CutPrefix(path, prefix); ok {
				return scheme + "://" + rest
			}
		}
	}
	if strings.Contains(path, "://") {
		return path
	}
	return ""
}

// parseImagePath reads a path such as "tank/vms/gold@v1" or "/dev/zvol/tank/old/disk0". Whether a volume is a prepared image's is
// found out by [Server.resolve], which knows this provider's tree.
func parseImagePath(path string) (imageRef, error) {
	const field = "image_json.Path"
	name := strings.ReplaceAll(strings.TrimPrefix(path, devZvol), "+", " ")
	volume, snap, isSnap := strings.Cut(name, "@")
	if !validDataset(volume) || (isSnap && !validDataset("p/"+snap)) {
		return imageRef{}, refusal.InvalidArgument(field, "%q is neither a volume on the NAS (pool/dataset/volume) nor a snapshot of one (pool/dataset/volume@snapshot)", path)
	}
	switch {
	case isSnap:
		return imageRef{kind: imageClone, volume: volume, snap: name}, nil
	}
	return imageRef{kind: imageAttach, volume: volume}, nil
}

// validPool reports whether a text can be the name of a pool, which may hold spaces but not at its ends.
func validPool(name string) bool {
	return !strings.Contains(name, "/") && name == strings.TrimSpace(name) && validDataset(name+"/x")
}

// validDataset says whether a text can be the path of a dataset below a pool.
func validDataset(path string) bool {
	parts := strings.Split(path, "/")
	if len(parts) < 2 || len(path) > 255 {
		return false
	}
	for _, part := range parts {
		if part == "" || part == "." || part == ".." || strings.Trim(part, datasetCharacters) != "" {
			return false
		}
	}
	return true
}

const datasetCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.: "
