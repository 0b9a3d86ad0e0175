package spec

// Image is an image that is ready or in preparation.
type Image struct {
	Job  ImageJob
	Key  string // its name below the images folder: a hash of its URL and checksum, or an artifact's name
	Name string // for users
	Root string // the root of its tree

	Identity  *ImageIdentity // of an artifact
	Namespace string         // the namespace whose VMs may use it; "" for all
}

// Dataset returns the dataset of the image.
func (i Image) Dataset() string { return i.Root + ImagesFolder + i.Key }

// Volume returns the volume of the image.
func (i Image) Volume() string { return i.Dataset() + "/disk" }

// Snapshot returns the snapshot that VMs are cloned from; it exists once the image is complete.
func (i Image) Snapshot() string { return i.Volume() + "@" + ReadySnapshot }
