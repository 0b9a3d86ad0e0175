package disk

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// maxLayers is how many layers of a container disk are searched.
const maxLayers = 16

// diskSuffixes are what the titles of disks end in, among the other files of an artifact.
var diskSuffixes = []string{".qcow2", ".raw", ".img", ".iso", ".vmdk", ".vdi", ".vhdx", ".vhd", ".gz", ".xz", ".zst", ".bz2"}

// diskLayers are the layers that may hold the disk, the likeliest first. Of the files of an artifact, which have
// titles, exactly one has to look like a disk; the layers of a container disk are searched from the top.
func diskLayers(m ocispec.Manifest) ([]ocispec.Descriptor, error) {
	layers := slices.Clone(m.Layers)
	if len(layers) > maxLayers {
		return nil, refusal(ErrUnsupported, "oci manifest has %d layers, the limit is %d", len(layers), maxLayers)
	}
	if len(layers) == 1 {
		return layers, nil
	}
	var titles []string
	var disks []ocispec.Descriptor
	for _, layer := range layers {
		title := layer.Annotations[ocispec.AnnotationTitle]
		if title == "" {
			continue
		}
		titles = append(titles, title)
		if slices.Contains(diskSuffixes, strings.ToLower(path.Ext(title))) {
			disks = append(disks, layer)
		}
	}
	switch {
	case len(titles) == 0:
		slices.Reverse(layers)
		return layers, nil
	case len(disks) == 1:
		return disks, nil
	}
	return nil, refusal(ErrUnsupported, "oci artifact has %d files that look like a disk, expected one: %q", len(disks), titles)
}

// openLayers opens the first layer that is a disk or has one inside.
func (o *Opener) openLayers(ctx context.Context, repo *remote.Repository, layers []ocispec.Descriptor, src Source, announced int64) (*supply, error) {
	for _, layer := range layers {
		from, err := o.openBlob(ctx, repo, layer, src)
		if err != nil {
			return nil, err
		}
		found, err := o.diskIn(from, len(layers) == 1)
		if err != nil {
			from.Close()
			return nil, err
		}
		if found == nil {
			from.Close()
			continue
		}
		if announced >= 0 && found.size != announced {
			from.Close()
			return nil, refusal(ErrLength, "source has %d bytes, announced were %d", found.size, announced)
		}
		return found, nil
	}
	return nil, refusal(ErrUnsupported, "oci image has no file under /disk/ in any layer")
}

// openBlob starts reading a blob, which is verified against its digest as it is read.
func (o *Opener) openBlob(ctx context.Context, repo *remote.Repository, layer ocispec.Descriptor, src Source) (*supply, error) {
	if err := layer.Digest.Validate(); err != nil || layer.Size < 0 {
		return nil, refusal(ErrInvalid, "oci layer has the digest %q and the size %d", layer.Digest, layer.Size)
	}
	scheme := "https"
	if repo.PlainHTTP {
		scheme = "http"
	}
	blob := o.newWebObject(src)
	blob.client = repo.Client
	blob.auth = Credentials{} // the registry client's business
	blob.immutable = true
	blob.url = fmt.Sprintf("%s://%s/v2/%s/blobs/%s", scheme, repo.Reference.Host(), repo.Reference.Repository, layer.Digest)
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull)
	from, err := o.stream(ctx, src, blob, layer.Size)
	if err != nil {
		return nil, err
	}
	from.Reader = &digested{r: from.Reader, want: layer.Digest, sum: layer.Digest.Algorithm().Hash()}
	return from, nil
}

// digested ends in an error unless the bytes are those of the digest.
type digested struct {
	r    io.Reader
	want digest.Digest
	sum  hash.Hash
}

// Read implements [io.Reader].
func (d *digested) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.sum.Write(p[:n])
	if err != io.EOF {
		return n, err
	}
	if got := digest.NewDigest(d.want.Algorithm(), d.sum); got != d.want {
		return n, refusal(ErrChecksum, "layer has the digest %s, expected %s", got, d.want)
	}
	return n, io.EOF
}

// diskIn decides what a layer is: the file itself, or an archive with the file in its directory /disk. It answers nil
// for an archive without.
func (o *Opener) diskIn(from *supply, alone bool) (*supply, error) {
	packed := &head{r: from.Reader}
	kind, err := sniffCompression(packed)
	if err != nil {
		return nil, err
	}
	isTar, err := startsTar(packed, kind)
	if err != nil {
		return nil, err
	}
	blob := packed.whole()
	if !isTar {
		if !alone {
			return nil, nil
		}
		return &supply{Reader: blob, size: from.size, at: from.at, close: from.close, sized: true}, nil
	}
	in := &intake{r: blob}
	decoder, err := newDecoder(kind, in, o.opts.MaxWindow, &o.pairing)
	if err != nil {
		return nil, refusal(ErrCorrupt, "layer cannot be unpacked: %s", err)
	}
	layer := &unpacked{kind: kind, decoder: decoder, in: in, window: o.opts.MaxWindow}
	found, err := findDisk(&bounded{r: layer, in: in, most: 2 * fileLimit(o.opts.MaxVirtualBytes), ratio: o.opts.MaxExpansion})
	if found == nil {
		layer.Close()
		return nil, err
	}
	end := from.close
	found.Reader = &entry{r: found.Reader, blob: blob}
	found.close = func() { layer.Close(); end() }
	return found, nil
}

// startsTar looks whether a layer is an archive. Registries hold archives plain, in gzip or in zstd.
func startsTar(packed *head, kind Compression) (bool, error) {
	start, err := packed.upTo(256 * kib)
	if err != nil || kind == XZ || kind == Bzip2 {
		return false, err
	}
	decoder, err := newDecoder(kind, bytes.NewReader(start), 16*mib, nil)
	if err != nil {
		return false, nil // the reader of the image will say what is wrong with it
	}
	defer decoder.Close()
	first := make([]byte, sectorBytes)
	n, _ := io.ReadFull(decoder, first)
	return n == sectorBytes && string(first[257:262]) == "ustar", nil
}

// findDisk goes through an archive up to the first regular file in its directory /disk, nil if there is none.
func findDisk(layer io.Reader) (*supply, error) {
	archive := tar.NewReader(layer)
	for {
		header, err := archive.Next()
		switch {
		case err == io.EOF:
			return nil, nil
		case errors.Is(err, tar.ErrHeader):
			return nil, refusal(ErrCorrupt, "layer is no archive: %s", err)
		case err != nil:
			return nil, err
		}
		name := path.Clean("/" + header.Name)
		hidden := strings.HasPrefix(path.Base(name), ".wh.") // marks a file that a lower layer has as deleted
		if path.Dir(name) == "/disk" && header.Typeflag == tar.TypeReg && !hidden {
			return &supply{Reader: archive, size: header.Size, sized: true}, nil
		}
	}
}

// entry is a file in a layer. When it ends, the rest of the layer is read, since only then its digest is verified.
type entry struct {
	r    io.Reader
	blob io.Reader
}

// Read implements [io.Reader].
func (e *entry) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != io.EOF {
		return n, err
	}
	if _, err := io.Copy(io.Discard, e.blob); err != nil {
		return n, err
	}
	return n, io.EOF
}
