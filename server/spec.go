package server

import (
	"fmt"
	"unicode/utf8"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
)

// maxName is the longest name, in bytes, that a VM may ask for: what Kubernetes allows.
const maxName = 253

// maxTags and maxTagBytes bound what is written into a VM's description.
const (
	maxTags     = 32
	maxTagBytes = 128
)

// spec is a Create request as it was understood: checked as far as it can be without asking
// the NAS.
type spec struct {
	name  string
	owner string // uid of the object that asks; empty when the caller sends none

	namespace string // of that object; likewise

	class    class
	image    imageRef
	networks []network
	disks    []extraDisk
	pool     string // the pool asked for; empty: the configured one
	tags     []string
	userData []byte
	metaData []byte

	honest bool // of a Reconfigure: the caller reads restart_required

	source, host string // of a full clone: the id of its source, and its host name
}

// onNAS is the name of the VM and of its dataset.
func (s spec) onNAS() string { return qualifiedName(s.namespace, s.name) }

// parseSpec reads a Create request. Its errors name the field and what is allowed there.
func parseSpec(req *providerv1.CreateRequest) (spec, error) {
	s := spec{name: req.GetName(), owner: req.GetOwner().GetUid(), namespace: req.GetOwner().GetNamespace(), tags: req.GetTags(), userData: req.GetUserData(), metaData: req.GetMetaData()}
	steps := []func() error{
		func() error { return checkName("name", s.name) },
		func() error { return checkTags(s.tags) },
		func() (err error) { s.class, err = parseClass(req.GetClassJson()); return },
		func() (err error) { s.image, err = parseImage(req.GetImageJson()); return },
		func() (err error) { s.networks, err = parseNetworks("networks_json", req.GetNetworksJson()); return },
		func() (err error) { s.disks, err = parseDisks("disks_json", req.GetDisksJson()); return },
		func() (err error) { s.pool, err = parsePlacement("placement_json", req.GetPlacementJson()); return },
		func() error { return checkAddresses(s.networks) },
		func() error { return checkUserData(s.userData) },
		func() error { return checkMetaData(s.metaData) },
		func() error { return checkRoot(s.class, s.image) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return spec{}, err
		}
	}
	return s, nil
}

func checkName(field, name string) error {
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

func checkTags(tags []string) error {
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

// placement is where a VM is to be. A NAS knows pools; the rest belongs to clusters.
type placement struct {
	Datastore  string
	StoragePod string
	Cluster    string // a grouping that a NAS does not have; not used
	Folder     string // likewise
	Host       string
}

// parsePlacement answers the pool asked for, or "".
func parsePlacement(field, text string) (string, error) {
	var p placement
	if err := decodeJSON(field, text, &p); err != nil {
		return "", err
	}
	if p.Host != "" {
		return "", refusal.InvalidArgument(field+".Host", "%q: %s", p.Host, noHosts)
	}
	pool := p.Datastore
	if pool == "" {
		pool = p.StoragePod
	}
	if p.StoragePod != "" && p.StoragePod != pool {
		return "", refusal.InvalidArgument(field+".StoragePod", "%q differs from Datastore %q; both name the pool, give one", p.StoragePod, p.Datastore)
	}
	if pool != "" && !validPool(pool) {
		return "", refusal.InvalidArgument(field+".Datastore", "%q is not the name of a pool; nested paths are not allowed here", pool)
	}
	return pool, nil
}

// checkRoot holds image and class against each other: a blank root disk needs a size.
func checkRoot(c class, image imageRef) error {
	if image.kind == imageNone && c.rootGiB == 0 {
		return refusal.InvalidArgument("class_json.DiskDefaults.SizeGiB", "must be given for a VM without an image")
	}
	return nil
}
