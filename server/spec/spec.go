package spec

import (
	"fmt"
	"unicode/utf8"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
)

// maxName is the longest name, in bytes, of a VM: the limit of Kubernetes.
const maxName = 253

// maxTags and maxTagBytes bound the tags in a VM's description.
const (
	maxTags     = 32
	maxTagBytes = 128
)

// VM is a parsed Create request, with all checks that need no call to the NAS.
type VM struct {
	Name  string
	Owner string // uid of the requesting object; empty when the caller sends none

	Namespace string // namespace of that object; likewise

	Class    Class
	Image    ImageRef
	Networks []Network
	Disks    []ExtraDisk
	Pool     string // the requested pool; empty: the configured one
	Tags     []string
	UserData []byte
	MetaData []byte

	ReadsRestartRequired bool // of a Reconfigure: the caller reads restart_required

	Source, Host string // of a full clone: the id of its source, and its host name
}

// OnNAS returns the name of the VM and of its dataset.
func (s VM) OnNAS() string { return QualifiedName(s.Namespace, s.Name) }

// Parse reads a Create request. Its errors name the field and the allowed values.
func Parse(req *providerv1.CreateRequest) (VM, error) {
	s := VM{Name: req.GetName(), Owner: req.GetOwner().GetUid(), Namespace: req.GetOwner().GetNamespace(), Tags: req.GetTags(), UserData: req.GetUserData(), MetaData: req.GetMetaData()}
	steps := []func() error{
		func() error { return CheckName("name", s.Name) },
		func() error { return CheckTags(s.Tags) },
		func() (err error) { s.Class, err = ParseClass(req.GetClassJson()); return },
		func() (err error) { s.Image, err = ParseImage(req.GetImageJson()); return },
		func() (err error) { s.Networks, err = ParseNetworks("networks_json", req.GetNetworksJson()); return },
		func() (err error) { s.Disks, err = ParseDisks("disks_json", req.GetDisksJson()); return },
		func() (err error) { s.Pool, err = ParsePlacement("placement_json", req.GetPlacementJson()); return },
		func() error { return checkAddresses(s.Networks) },
		func() error { return CheckUserData(s.UserData) },
		func() error { return CheckMetaData(s.MetaData) },
		func() error { return checkRoot(s.Class, s.Image) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return VM{}, err
		}
	}
	return s, nil
}

// CheckName refuses a name that is empty, too long, not UTF-8, or has control characters.
func CheckName(field, name string) error {
	switch {
	case name == "":
		return refusal.InvalidArgument(field, "must not be empty")
	case len(name) > maxName:
		return refusal.InvalidArgument(field, "has %d characters; at most %d are allowed", len(name), maxName)
	case !utf8.ValidString(name):
		return refusal.InvalidArgument(field, "must be UTF-8")
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f {
			return refusal.InvalidArgument(field, "must not hold control characters")
		}
	}
	return nil
}

// CheckTags refuses too many or too long tags.
func CheckTags(tags []string) error {
	if len(tags) > maxTags {
		return refusal.InvalidArgument("tags", "%d given; at most %d are allowed", len(tags), maxTags)
	}
	for i, tag := range tags {
		if len(tag) > maxTagBytes {
			return refusal.InvalidArgument(fmt.Sprintf("tags[%d]", i), "has %d bytes; at most %d are allowed", len(tag), maxTagBytes)
		}
	}
	return nil
}

// placement is the requested place of a VM. A NAS has only pools; the other fields are for clusters.
type placement struct {
	Datastore  string
	StoragePod string
	Cluster    string // a grouping that a NAS does not have; ignored
	Folder     string // likewise
	Host       string
}

// ParsePlacement returns the requested pool, or "".
func ParsePlacement(field, text string) (string, error) {
	var p placement
	if err := DecodeJSON(field, text, &p); err != nil {
		return "", err
	}
	if p.Host != "" {
		return "", refusal.InvalidArgument(field+".Host", "%q: %s", p.Host, NoHosts)
	}
	pool := p.Datastore
	if pool == "" {
		pool = p.StoragePod
	}
	if p.StoragePod != "" && p.StoragePod != pool {
		return "", refusal.InvalidArgument(field+".StoragePod", "%q differs from Datastore %q; both name the pool, give one", p.StoragePod, p.Datastore)
	}
	if pool != "" && !ValidPool(pool) {
		return "", refusal.InvalidArgument(field+".Datastore", "%q is not the name of a pool; nested paths are not allowed here", pool)
	}
	return pool, nil
}

// checkRoot compares image and class: a blank root disk needs a size.
func checkRoot(c Class, image ImageRef) error {
	if image.Kind == ImageNone && c.RootGiB == 0 {
		return refusal.InvalidArgument("class_json.DiskDefaults.SizeGiB", "must be given for a VM without an image")
	}
	return nil
}

// NoHosts is the reason to refuse a request that names a host.
const NoHosts = "this provider drives one NAS and has no hosts to choose from"
