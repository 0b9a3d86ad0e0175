package disk

import (
	"bytes"
	"testing"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func platform(os, arch string) *ocispec.Platform {
	return &ocispec.Platform{OS: os, Architecture: arch}
}

func (r *fakeRegistry) index(tag string, entries ...ocispec.Descriptor) {
	r.t.Helper()
	r.document(tag, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries,
	})
}

// with returns a descriptor in the form of an index.
func with(d ocispec.Descriptor, p *ocispec.Platform, annotations ...string) ocispec.Descriptor {
	d.Platform, d.Annotations = p, map[string]string{}
	for i := 0; i < len(annotations); i += 2 {
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	return d
}

// Published indexes: by docker buildx with an SBOM, by podman machine-os (podman manifest annotate --annotation disktype=qemu
// --arch x86_64), by coreos-assembler (platform.os qemu), by oras (no platforms).
func TestOCIIndexes(t *testing.T) {
	raw := rawDisk(mib)
	reg := newFakeRegistry(t)
	disk := reg.tag("disk", reg.blob(diskLayer, "disk.raw", raw))
	wrong := reg.tag("wrong", reg.blob(diskLayer, "other.raw", rawDisk(2*mib)))
	untitled := reg.tag("untitled", reg.blob(tarLayer, "", archive(t, "disk/d.raw", string(raw))))
	sbom := reg.tag("sbom", reg.blob("application/spdx+json", "", []byte(`{"spdxVersion": "SPDX-2.3"}`)))
	notes := reg.tag("notes", reg.blob("text/plain", "NOTES.txt", []byte("hello\n")))
	container := reg.tag("container", reg.blob(tgzLayer, "", gzipped(t, archive(t, "bin/sh", "elf"))))
	vhdxs := reg.tag("vhdx", reg.blob(diskLayer, "disk.vhdx", []byte("vhdxfile")))

	reg.index("buildx", with(sbom, platform("unknown", "unknown"), "vnd.docker.reference.type", "attestation-manifest"), with(disk, platform("linux", "amd64")))
	reg.index("sbom-first", with(sbom, nil), with(disk, platform("linux", "amd64")))
	reg.index("sbom-unnamed", with(sbom, nil), with(disk, nil))
	reg.index("notes-unnamed", with(notes, nil), with(disk, nil))
	reg.index("one-unnamed", with(untitled, nil))
	reg.index("podman", with(container, platform("linux", "amd64")), with(wrong, platform("linux", "aarch64"), diskType, "qemu"),
		with(vhdxs, platform("linux", "x86_64"), diskType, "hyperv"), with(wrong, platform("linux", "x86_64"), diskType, "raw"), with(disk, platform("linux", "x86_64"), diskType, "qemu"))
	reg.index("cosa", with(container, platform("linux", "amd64")), with(wrong, platform("metal", "amd64")), with(disk, platform("qemu", "amd64")))
	inner := reg.document("inner", ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{with(disk, platform("linux", "amd64"))},
	})
	reg.index("nested", with(inner, platform("linux", "amd64")))
	for _, tag := range []string{"buildx", "sbom-first", "sbom-unnamed", "notes-unnamed", "one-unnamed", "podman", "cosa", "nested"} {
		t.Run(tag, func(t *testing.T) {
			if _, got := mustRead(t, newOpener(t), Source{URL: "oci://" + reg.host + "/disks/test:" + tag}); !bytes.Equal(got, raw) {
				t.Errorf("got %d bytes of another disk", len(got))
			}
		})
	}

	reg.index("two-unnamed", with(disk, nil), with(wrong, nil))
	reg.index("only-sboms", with(sbom, nil), with(sbom, platform("unknown", "unknown")))
	reg.index("only-hyperv", with(vhdxs, platform("linux", "x86_64"), diskType, "hyperv"), with(wrong, platform("linux", "arm64")))
	for _, tt := range []struct{ tag, says string }{
		{"two-unnamed", disk.Digest.String()},
		{"only-sboms", "no entry that can be a disk"},
		{"only-hyperv", `"disks for hyperv" "linux/arm64"`},
	} {
		_, err := newOpener(t).Open(timeout(t), Source{URL: "oci://" + reg.host + "/disks/test:" + tt.tag})
		want(t, err, ErrUnsupported, tt.says)
	}
}

// A container image of a system that installs itself to disks (podman build of a Containerfile FROM quay.io/fedora/fedora-bootc) is
// refused before its layers are read.
func TestBootableContainer(t *testing.T) {
	reg := newFakeRegistry(t)
	layers := []ocispec.Descriptor{}
	for range 70 {
		layers = append(layers, reg.blob(tgzLayer, "", gzipped(t, archive(t, "usr/bin/x", "elf"))))
	}
	config := reg.blob(ocispec.MediaTypeImageConfig, "", []byte(`{"os":"linux","architecture":"amd64","config":{"Labels":{"containers.bootc":"1"}}}`))
	reg.document("bootc", ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers,
	})
	_, err := newOpener(t).Open(timeout(t), Source{URL: "oci://" + reg.host + "/disks/test:bootc"})
	want(t, err, ErrUnsupported, "bootable container", "bootc-image-builder")
}

// The files of a container disk are those that a container would see (podman build: FROM scratch, COPY, RUN rm).
func TestContainerDiskLayers(t *testing.T) {
	raw, other := rawDisk(mib), rawDisk(2*mib)
	reg := newFakeRegistry(t)
	layer := func(files ...string) ocispec.Descriptor {
		return reg.blob(tgzLayer, "", gzipped(t, archive(t, files...)))
	}
	lower := layer("disk/old.raw", string(other))
	many := []ocispec.Descriptor{layer("disk/disk.raw", string(raw))}
	for range 20 {
		many = append(many, layer("etc/motd", "hi"))
	}
	reg.tag("replaced", layer("disk/disk.raw", string(other)), layer("disk/disk.raw", string(raw)))
	reg.tag("removed", lower, layer("disk/.wh.old.raw", "", "disk/disk.raw", string(raw)))
	reg.tag("emptied", lower, layer("disk/.wh..wh..opq", "", "disk/disk.raw", string(raw)))
	reg.tag("folder-removed", lower, layer(".wh.disk", ""), layer("disk/disk.raw", string(raw)))
	reg.tag("many", many...)
	reg.tag("beside", layer("disk/README.md", "# a disk\n", "disk/disk.raw", string(raw), "disk/SHA256SUMS", sha256Of(raw)+"  disk.raw\n"))
	for _, tag := range []string{"replaced", "removed", "emptied", "folder-removed", "many", "beside"} {
		t.Run(tag, func(t *testing.T) {
			if img, got := mustRead(t, newOpener(t), Source{URL: "oci://" + reg.host + "/disks/test:" + tag}); !bytes.Equal(got, raw) || img.Member != "disk/disk.raw" {
				t.Errorf("got %d bytes of %s", len(got), img.Member)
			}
		})
	}
	reg.tag("two", layer("disk/a.raw", string(raw), "disk/b.raw", string(other)))
	reg.tag("two-layers", lower, layer("disk/disk.raw", string(raw)))
	reg.tag("gone", lower, layer("disk/.wh.old.raw", ""))
	o := newOpener(t)
	for _, tt := range []struct {
		ref  string
		kind error
		says string
	}{
		{"two", ErrUnsupported, `"disk/a.raw" "disk/b.raw"`},
		{"two-layers", ErrUnsupported, `"disk/disk.raw" "disk/old.raw"`},
		{"gone", ErrUnsupported, "no disk file under /disk/"},
		{"gone#old.raw", ErrNotFound, `no file "old.raw"`},
		{"two#c.raw", ErrNotFound, `no file "c.raw"`},
	} {
		_, _, err := read(t, o, Source{URL: "oci://" + reg.host + "/disks/test:" + tt.ref})
		want(t, err, tt.kind, tt.says)
	}
	for ref, disk := range map[string][]byte{"two#a.raw": raw, "two#disk/b.raw": other, "two-layers#old.raw": other} {
		if _, got := mustRead(t, o, Source{URL: "oci://" + reg.host + "/disks/test:" + ref}); !bytes.Equal(got, disk) {
			t.Errorf("%s: got %d bytes", ref, len(got))
		}
	}
	reg.tag("artifacts", reg.blob(diskLayer, "a.raw", raw), reg.blob(diskLayer, "b.raw.gz", gzipped(t, other)))
	if _, got := mustRead(t, o, Source{URL: "oci://" + reg.host + "/disks/test:artifacts#b.raw.gz"}); !bytes.Equal(got, other) {
		t.Errorf("got %d bytes", len(got))
	}
}
