package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/seed"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// User properties of a VM's dataset that record the request of Create. A later Create compares its request with them where the
// objects on the NAS do not show it: a promoted root disk has no origin, and a release may render the same request into
// another seed. VMs made by older releases lack the properties.
const (
	propImage       = "virtrigaud:image"        // the snapshot that the root disk was cloned from, or blankImage
	propImageSource = "virtrigaud:image-source" // the source of that image: URL and checksum
	propSeed        = "virtrigaud:seed"         // a digest of user data, meta data and network settings
	propNetworks    = "virtrigaud:networks"     // the guest's settings of each NIC, see [spec.NetworkSettings]
)

// blankImage represents a root disk that was made without an image.
const blankImage = "none"

// checkRoot refuses an existing VM with another root disk than the requested one, or with a root disk from another image: the root
// disk is made once, and it holds data.
func (p *plan) checkRoot(want spec.VM, seen *observation, l spec.Layout) error {
	const field = "image_json.Path"
	root := p.disks[0]
	if p.existing != nil {
		has := l.RootVolume(vmrecord.Disks(*p.existing))
		partial := p.holds(has) && path.Base(has) != spec.RootDisk // The root disk is not attached yet.
		if has != "" && has != root.volume && !partial {
			return refusal.FailedPrecondition("%s: VM %q has the root disk %s, not %s; a root disk cannot be replaced", field, p.mark.Name, has, root.volume)
		}
	}
	p.requested = map[string]string{propImage: blankImage}
	switch want.Image.Kind {
	case spec.ImageAttach:
		p.requested = map[string]string{}
		return nil
	case spec.ImageInstaller:
		p.requested[propImage] = want.Image.File
	case spec.ImageClone:
		p.requested[propImage] = want.Image.Snapshot
		if source := sourceOf(seen.datasets[path.Dir(want.Image.Volume)]); source != "" {
			p.requested[propImageSource] = source
		}
	}
	if !root.exists || p.sameImage(seen.datasets[root.volume].Origin, l) {
		return nil
	}
	return refusal.FailedPrecondition("%s: the root disk of VM %q was made from %s, not from %s; delete the VM and create it again", field, p.mark.Name, p.madeFrom(seen.datasets[root.volume].Origin), p.requested[propImage])
}

// madeFrom returns the image of the existing root disk, as recorded, or else the origin of the volume.
func (p *plan) madeFrom(origin string) string {
	if image := p.recorded[propImage]; image != "" {
		return image
	}
	return origin
}

// sameImage reports whether the existing root disk was made from the requested image. Two prepared images of one source are the
// same. Without a record the volume's origin decides. A volume without an origin, or with one in another VM, matches any image: it
// was promoted or reverted, or is part of a clone.
func (p *plan) sameImage(origin string, l spec.Layout) bool {
	if from := p.madeFrom(origin); from == "" || from == p.requested[propImage] || origin == p.requested[propImage] {
		return true
	}
	if p.recorded[propImage] == "" && l.InVM(origin) {
		return true
	}
	source := p.requested[propImageSource]
	return source != "" && source == p.recorded[propImageSource]
}

// sourceOf returns the source of a prepared image, or "" when its dataset does not record one.
func sourceOf(prepared truenas.Dataset) string {
	props := prepared.LocalUserProperties
	if props[spec.PropSource] == "" {
		return ""
	}
	return props[spec.PropSource] + " " + props[spec.PropChecksum]
}

// planSeed plans the seed. A running VM keeps its current seed, because the guest reads it at its first start only.
func (p *plan) planSeed(want spec.VM, seen *observation) {
	p.seed, p.warning = seed.New(want, p.id, macsOf(p.nics)), spec.UserDataWarning(want.UserData)
	p.placeSeed(seen.datasets)
	p.requested[propSeed] = seedDigest(want)
	p.requested[propNetworks] = spec.NetworkSettings(want.Networks)
	if p.seed == nil || p.existing == nil || !vmrecord.Active(*p.existing) {
		return
	}
	switch drive, ok := p.seedDrive(); {
	case ok:
		p.seedPath = drive.Attributes.Path
	case p.recorded[propSeed] == "" && onlyDNS(want):
		p.seed = nil
	}
}

// onlyDNS reports whether a seed is needed only for DNS servers beside DHCP. Older releases made
// none for that, and their VMs run without.
func onlyDNS(s spec.VM) bool {
	return len(s.UserData) == 0 && len(s.MetaData) == 0 && !slices.ContainsFunc(s.Networks, spec.Network.Static)
}

// otherSeed reports whether the VM's seed was made of other data than the current request has.
func (p *plan) otherSeed() bool {
	was := p.recorded[propSeed]
	return was != "" && was != p.requested[propSeed]
}

// seedDigest identifies the contents of a seed independently of how a release renders it.
func seedDigest(s spec.VM) string {
	if !slices.ContainsFunc(s.Networks, spec.Network.Configured) && len(s.UserData) == 0 && len(s.MetaData) == 0 {
		return "none"
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %d\n%s%s", len(s.UserData), len(s.MetaData), s.UserData, s.MetaData)
	for _, n := range s.Networks {
		fmt.Fprintf(sum, "\n%s", n.Settings())
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
