package disk

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
)

var indexTypes = []string{ocispec.MediaTypeImageIndex, "application/vnd.docker.distribution.manifest.list.v2+json"}

// maxUnnamed bounds the entries without a platform that are examined.
const maxUnnamed = 16

// diskType is the annotation in indexes of disks, such as that of podman's machine-os, with the hypervisor of an entry.
const diskType = "disktype"

// The names of the NAS's processor and hypervisor in indexes. Indexes by coreos-assembler have the hypervisor as the platform's
// system.
var (
	processors  = []string{"amd64", "x86_64"}
	hypervisors = []string{"qemu", "kvm", "kubevirt", "qcow2", "raw"} // the best first
)

// companionTypes are words in the types of index entries other than images.
var companionTypes = []string{"sbom", "spdx", "cyclonedx", "syft", "in-toto", "attestation", "signature", "cosign", "sigstore", "dsse", "vex", "notary", "provenance"}

// forThisNAS selects the candidates for the disk from an index, best first: an entry that is declared as a disk for this
// hypervisor, the entry for exactly the NAS's platform, or all entries without a platform, of which the content decides.
func forThisNAS(index []byte) ([]ocispec.Descriptor, error) {
	var list ocispec.Index
	if err := json.Unmarshal(index, &list); err != nil {
		return nil, refusal(ErrCorrupt, "oci index cannot be parsed")
	}
	var declared, exact, unnamed []ocispec.Descriptor
	var others []string
	for _, m := range list.Manifests {
		kind := hypervisorOf(m)
		switch {
		case isCompanion(m):
		case m.Platform == nil && kind == "":
			unnamed = append(unnamed, m)
		case m.Platform != nil && !slices.Contains(processors, m.Platform.Architecture):
			others = append(others, m.Platform.OS+"/"+m.Platform.Architecture)
		case slices.Contains(hypervisors, kind):
			declared = append(declared, m)
		case kind != "":
			others = append(others, "disks for "+kind)
		case m.Platform.OS == "linux":
			exact = append(exact, m)
		default:
			others = append(others, m.Platform.OS+"/"+m.Platform.Architecture)
		}
	}
	slices.SortStableFunc(declared, func(a, b ocispec.Descriptor) int {
		return slices.Index(hypervisors, hypervisorOf(a)) - slices.Index(hypervisors, hypervisorOf(b))
	})
	switch {
	case len(declared) > 0:
		return named(declared[0]), nil
	case len(exact) > 0:
		return named(exact[0]), nil
	case len(unnamed) > 0:
		return unnamed, nil
	}
	return nil, refusal(ErrUnsupported, "oci index has no entry for linux/amd64, only %q", others)
}

// named returns a certain choice, whether or not the entry names a platform.
func named(d ocispec.Descriptor) []ocispec.Descriptor {
	if d.Platform == nil {
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: processors[0]}
	}
	return []ocispec.Descriptor{d}
}

// hypervisorOf returns the hypervisor that an entry names, or "".
func hypervisorOf(m ocispec.Descriptor) string {
	if kind := m.Annotations[diskType]; kind != "" {
		return strings.ToLower(kind)
	}
	if m.Platform != nil && slices.Contains(hypervisors, m.Platform.OS) {
		return m.Platform.OS
	}
	return ""
}

// isCompanion recognizes bills of materials, signatures and attestations.
func isCompanion(m ocispec.Descriptor) bool {
	if m.Annotations["vnd.docker.reference.type"] != "" || m.Platform != nil && m.Platform.OS == "unknown" {
		return true
	}
	return isCompanionType(m.ArtifactType) || isCompanionType(m.MediaType)
}

func isCompanionType(mediaType string) bool {
	mediaType = strings.ToLower(mediaType)
	return slices.ContainsFunc(companionTypes, func(word string) bool { return strings.Contains(mediaType, word) })
}

// onlyDisk examines entries without a platform, of which exactly one has to be a disk.
func onlyDisk(ctx context.Context, repo *remote.Repository, entries []ocispec.Descriptor) (ocispec.Manifest, error) {
	if len(entries) > maxUnnamed {
		return ocispec.Manifest{}, refusal(ErrUnsupported, "oci index has %d entries without a platform, the limit is %d", len(entries), maxUnnamed)
	}
	var certain, possible []ocispec.Manifest
	var digests []string
	for _, entry := range entries {
		body, err := fetchSmall(ctx, repo, entry)
		if err != nil {
			return ocispec.Manifest{}, err
		}
		manifest, err := readManifest(entry, body)
		switch {
		case err != nil || besideManifest(manifest):
			continue
		case provesDisk(manifest):
			certain = append(certain, manifest)
		default:
			possible = append(possible, manifest)
		}
		digests = append(digests, entry.Digest.String())
	}
	switch {
	case len(certain) == 1:
		return certain[0], nil
	case len(certain) == 0 && len(possible) == 1:
		return possible[0], nil
	case len(digests) == 0:
		return ocispec.Manifest{}, refusal(ErrUnsupported, "oci index has no entry that can be a disk")
	}
	return ocispec.Manifest{}, refusal(ErrUnsupported, "oci index has %d entries that may be the disk and names no platforms: append one of these to the reference: %q", len(digests), digests)
}

// besideManifest recognizes bills of materials and signatures by their contents.
func besideManifest(m ocispec.Manifest) bool {
	if isCompanionType(m.ArtifactType) || isCompanionType(m.Config.MediaType) {
		return true
	}
	return !slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool { return !isCompanionType(l.MediaType) })
}

// provesDisk reports whether a layer has a typical name of a disk.
func provesDisk(m ocispec.Manifest) bool {
	return slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool {
		kind := strings.ToLower(l.MediaType)
		return hasDiskName(l.Annotations[ocispec.AnnotationTitle]) ||
			strings.Contains(kind, "qemu-disk") || strings.Contains(kind, "qcow2") || strings.Contains(kind, "disk-image") || strings.Contains(kind, "diskimage")
	})
}

// bootcLabels mark images with the files of a system that boots after its installation to a disk.
var bootcLabels = []string{"containers.bootc", "ostree.bootable"}

// bootable refuses the image of a system that has to be installed to a disk first, before a search of its many layers.
func (o *Opener) bootable(ctx context.Context, repo *remote.Repository, m ocispec.Manifest) error {
	labels := m.Annotations
	if slices.Contains([]string{ocispec.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json"}, m.Config.MediaType) {
		body, err := fetchBlob(ctx, repo, m.Config)
		if err != nil {
			return err
		}
		var config ocispec.Image
		if json.Unmarshal(body, &config) == nil && len(config.Config.Labels) > 0 {
			labels = config.Config.Labels
		}
	}
	for _, label := range bootcLabels {
		if labels[label] != "" {
			return refusal(ErrUnsupported, "oci image is a bootable container (%s), which holds files and not a disk: make a disk of it, such as with bootc-image-builder, and give that", label)
		}
	}
	return nil
}
