package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// User properties of a VM's dataset that record what Create was asked for. A later Create compares
// itself with them where the NAS cannot tell: a promoted root disk has no origin, and a release may
// render the same request into another seed. VMs made by older releases lack them.
const (
	propImage       = "virtrigaud:image"        // the snapshot that the root disk was cloned from, or blankImage
	propImageSource = "virtrigaud:image-source" // where that image came from: URL and checksum
	propSeed        = "virtrigaud:seed"         // a digest of user data, meta data and network settings
	propNetworks    = "virtrigaud:networks"     // what the guest is told about each NIC, see [settingsOf]
)

// blankImage stands for a root disk that was made without an image.
const blankImage = "none"

// checkRoot refuses an existing VM whose root disk is another one than asked for, or was made from
// another image: the root disk is made once, and it holds data.
func (p *plan) checkRoot(want spec, seen *observation, l layout) error {
	const field = "image_json.Path"
	root := p.disks[0]
	if p.existing != nil {
		has := l.rootOf(*p.existing)
		partial := inTree(has, p.dataset) && path.Base(has) != rootDisk // The root disk is not attached yet.
		if has != "" && has != root.volume && !partial {
			return refusal.FailedPrecondition("%s: VM %q has the root disk %s, not %s; a root disk is never exchanged", field, p.mark.Name, has, root.volume)
		}
	}
	p.asked = map[string]string{propImage: blankImage}
	switch want.image.kind {
	case imageAttach:
		p.asked = map[string]string{}
		return nil
	case imageInstaller:
		p.asked[propImage] = want.image.file
	case imageClone:
		p.asked[propImage] = want.image.snap
		if source := sourceOf(seen.datasets[path.Dir(want.image.volume)]); source != "" {
			p.asked[propImageSource] = source
		}
	}
	if !root.exists || p.sameImage(seen.datasets[root.volume].Origin, l) {
		return nil
	}
	return refusal.FailedPrecondition("%s: the root disk of VM %q was made from %s, not from %s; delete the VM to have it made again", field, p.mark.Name, p.madeFrom(seen.datasets[root.volume].Origin), p.asked[propImage])
}

// madeFrom is the image of the existing root disk, as recorded, or else by the origin of the volume.
func (p *plan) madeFrom(origin string) string {
	if image := p.recorded[propImage]; image != "" {
		return image
	}
	return origin
}

// sameImage reports whether the existing root disk was made from the image asked for. Two prepared
// images of one source are the same. Without a record the volume's origin tells, unless there is none
// or it lies in another VM: then the volume was promoted or reverted, or is part of a clone.
func (p *plan) sameImage(origin string, l layout) bool {
	if from := p.madeFrom(origin); from == "" || from == p.asked[propImage] || origin == p.asked[propImage] {
		return true
	}
	if p.recorded[propImage] == "" && l.inMachine(origin) {
		return true
	}
	source := p.asked[propImageSource]
	return source != "" && source == p.recorded[propImageSource]
}

// sourceOf is where a prepared image came from, or "" when its dataset does not say.
func sourceOf(prepared truenas.Dataset) string {
	props := prepared.LocalUserProperties
	if props[propSource] == "" {
		return ""
	}
	return props[propSource] + " " + props[propChecksum]
}

// planSeed plans the seed. A running VM keeps the one it has: the guest reads it at its first start.
func (p *plan) planSeed(want spec, seen *observation) {
	p.seed, p.warning = newSeed(want, p.id, p.nics), userDataWarning(want.userData)
	p.placeSeed(seen.datasets)
	p.asked[propSeed] = seedDigest(want)
	p.asked[propNetworks] = settingsOf(want.networks)
	if p.seed == nil || p.existing == nil || !active(*p.existing) {
		return
	}
	switch drive, ok := p.seedDrive(); {
	case ok:
		p.seedPath = drive.Attributes.Path
	case p.recorded[propSeed] == "" && onlyDNS(want):
		p.seed = nil
	}
}

// onlyDNS reports whether a seed is needed for nothing but DNS servers beside DHCP. Older releases made
// none for that, and their VMs run without.
func onlyDNS(s spec) bool {
	return len(s.userData) == 0 && len(s.metaData) == 0 && !slices.ContainsFunc(s.networks, network.static)
}

// otherSeed reports whether the VM's seed was made of other data than asked for now.
func (p *plan) otherSeed() bool {
	was := p.recorded[propSeed]
	return was != "" && was != p.asked[propSeed]
}

// seedDigest identifies what a seed is made of, whatever a release renders it into.
func seedDigest(s spec) string {
	if !slices.ContainsFunc(s.networks, network.configured) && len(s.userData) == 0 && len(s.metaData) == 0 {
		return "none"
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %d\n%s%s", len(s.userData), len(s.metaData), s.userData, s.metaData)
	for _, n := range s.networks {
		fmt.Fprintf(sum, "\n%s", n.settings())
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// settingsOf lists the settings of all networks, separated by "; ", or "none".
func settingsOf(networks []network) string {
	list := make([]string, len(networks))
	for i, n := range networks {
		list[i] = n.settings()
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, "; ")
}

// settings are what the guest is told about a network, as text: "192.0.2.10/24 via 192.0.2.1 dns
// 192.0.2.53", or "dhcp".
func (n network) settings() string {
	text := "dhcp"
	if n.static() {
		text = n.address.String()
	}
	if n.gateway.IsValid() {
		text += " via " + n.gateway.String()
	}
	for _, addr := range n.dns {
		text += " dns " + addr.String()
	}
	return text
}
