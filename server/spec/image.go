package spec

import (
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
)

// ImageKind is the kind of source of a VM's root disk.
type ImageKind int

// The kinds of root disk.
const (
	ImageNone      ImageKind = iota // a blank disk
	ImageClone                      // a clone of a snapshot
	ImageAttach                     // an existing volume without a copy
	ImageURL                        // an image that has to be downloaded first
	ImageInstaller                  // a blank disk, and an ISO on the NAS in a CD-ROM drive
)

// ImageRef is the source of a root disk.
type ImageRef struct {
	Kind     ImageKind
	Volume   string   // the volume on the NAS, "tank/virtrigaud/images/k/disk"
	Snapshot string   // the snapshot to clone, with its volume: "tank/…/disk@ready"
	Job      ImageJob // the download, for ImageURL
	File     string   // the path of the ISO on the NAS

	FromPrepare bool // the path comes from ImagePrepare, not from a user's VMImage
	NotImported bool // the manager reports that the path is not the disk that a migration of this VM imported

	Prepared *Image // the prepared image, which may not exist yet
}

type imageJSON struct {
	TemplateName string
	Path         string
	URL          string
	Format       string
	Checksum     string
	ChecksumType string

	// ImportedDisk reports whether Path is the disk that this VM's migration imported; only that disk may be attached. Managers
	// before line 0.4 do not send it, and then the path decides.
	ImportedDisk *bool
}

// ParseImage reads image_json. A snapshot and a prepared image are cloned. Any other volume is attached: if ImportedDisk is
// true, or for a manager that does not send it, by the path alone.
func ParseImage(text string) (ImageRef, error) {
	var j imageJSON
	if err := DecodeJSON("image_json", text, &j); err != nil {
		return ImageRef{}, err
	}
	if err := checkFormat("image_json.Format", announced(j.Format)); err != nil {
		return ImageRef{}, err
	}
	switch {
	case j.TemplateName != "":
		return ImageRef{}, refusal.InvalidArgument("image_json.TemplateName", "%q: TrueNAS has no templates; give Path (a snapshot or a volume on the NAS)", j.TemplateName)
	case j.Path != "" && j.URL != "":
		return ImageRef{}, refusal.InvalidArgument("image_json", "gives both Path and URL; give one")
	case IsInstaller(j.Path):
		return ImageRef{Kind: ImageInstaller, File: j.Path}, nil
	case aliasOf(j.Path) != "", strings.HasPrefix(j.Path, MountPrefix):
		job, err := ParseImageJob(text)
		return ImageRef{Kind: ImageURL, Job: job}, err
	case j.Path != "":
		ref, err := ParseImagePath(j.Path)
		ref.FromPrepare = j.ImportedDisk != nil && !strings.HasPrefix(j.Path, "/")
		ref.NotImported = j.ImportedDisk != nil && !*j.ImportedDisk
		return ref, err
	case j.URL != "":
		job, err := ParseImageJob(text)
		return ImageRef{Kind: ImageURL, Job: job}, err
	case j.Format == "template" || j.Checksum != "":
		return ImageRef{}, refusal.InvalidArgument("image_json.Path", "is empty: VirtRigaud passes only source.libvirt (url or path) of a VMImage to a VM; set the image's source there")
	}
	return ImageRef{}, nil
}

// aliasOf returns the URL that a path represents, or "". A VMImage of line 0.4 has a field for http URLs only, and its path has to
// begin with a slash: so /oci://registry.example/disk:1 and /s3://bucket/key are URLs, and so are the forms without a colon. Line
// 0.3 also allows the URL itself.
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

// ParseImagePath reads a path such as "tank/vms/gold@v1" or "/dev/zvol/tank/old/disk0". It does not decide whether the
// volume belongs to a prepared image: the caller knows the provider's tree.
func ParseImagePath(path string) (ImageRef, error) {
	const field = "image_json.Path"
	name := strings.ReplaceAll(strings.TrimPrefix(path, DevZvol), "+", " ")
	volume, snap, isSnap := strings.Cut(name, "@")
	if !ValidDataset(volume) || (isSnap && !ValidDataset("p/"+snap)) {
		return ImageRef{}, refusal.InvalidArgument(field, "%q is neither a volume on the NAS (pool/dataset/volume) nor a snapshot of one (pool/dataset/volume@snapshot)", path)
	}
	if isSnap {
		return ImageRef{Kind: ImageClone, Volume: volume, Snapshot: name}, nil
	}
	return ImageRef{Kind: ImageAttach, Volume: volume}, nil
}

// ValidPool reports whether a text is a valid name of a pool, which may contain spaces but not at its ends.
func ValidPool(name string) bool {
	return !strings.Contains(name, "/") && name == strings.TrimSpace(name) && ValidDataset(name+"/x")
}

// ValidDataset reports whether a text is a valid path of a dataset below a pool.
func ValidDataset(path string) bool {
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

// ByPath reports whether an image is an object on the NAS that this provider has not prepared.
func (i ImageRef) ByPath() bool {
	return i.Kind == ImageAttach || i.Kind == ImageClone && i.Prepared == nil
}

// String returns the path of an image on the NAS.
func (i ImageRef) String() string {
	if i.Snapshot != "" {
		return i.Snapshot
	}
	return i.Volume
}
