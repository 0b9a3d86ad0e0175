package disk

import (
	"bytes"
	"context"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// maxLayers bounds the layers of a container disk that are searched. Container runtimes allow 127.
const maxLayers = 128

// diskSuffixes are the suffixes of disks among the other files of an artifact or of an archive.
var diskSuffixes = []string{".qcow2", ".raw", ".img", ".iso", ".vmdk", ".vdi", ".vhdx", ".vhd", ".ova", ".tar", ".zip", ".gz", ".xz", ".zst", ".bz2"}

// diskLayers returns the layers that may contain the disk, the likeliest first. Of the files of an artifact, which have titles,
// exactly one has to look like a disk, or to have the requested name; the layers of a container disk are searched from the top.
func diskLayers(m ocispec.Manifest, file string) ([]ocispec.Descriptor, error) {
	layers := slices.Clone(m.Layers)
	if len(layers) > maxLayers {
		return nil, refusal(ErrUnsupported, "oci manifest has %d layers, the limit is %d", len(layers), maxLayers)
	}
	if len(layers) == 1 {
		return layers, nil
	}
	var titles, called []string
	var disks []ocispec.Descriptor
	for _, layer := range layers {
		title := layer.Annotations[ocispec.AnnotationTitle]
		if title == "" {
			continue
		}
		titles = append(titles, title)
		if file != "" && (title == file || path.Base(title) == file) {
			return []ocispec.Descriptor{layer}, nil
		}
		if hasDiskName(title) {
			called, disks = append(called, title), append(disks, layer)
		}
	}
	pick := choice{in: "oci artifact", file: file}
	switch {
	case len(titles) == 0:
		slices.Reverse(layers)
		return layers, nil
	case file != "" || len(disks) == 0:
		return nil, fmt.Errorf("%w; its files are %q", pick.none(), titles)
	case len(disks) == 1:
		return disks, nil
	}
	return nil, pick.ambiguous(called)
}

// openBlob starts to read a blob, and verifies it against its digest.
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
	blob.auth = Credentials{} // the registry client authenticates itself
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

// digested returns an error at the end unless the bytes match the digest.
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

// startsTar reports whether a layer is an archive. Registries store archives plain, in gzip or in zstd.
func startsTar(packed *head, kind Compression) (bool, error) {
	start, err := packed.upTo(256 * kib)
	if err != nil || kind == XZ || kind == Bzip2 {
		return false, err
	}
	decoder, err := newDecoder(kind, bytes.NewReader(start), narrowWindow, nil)
	if err != nil {
		return false, nil // the reader of the image will report the fault
	}
	defer decoder.Close()
	first := make([]byte, sectorBytes)
	n, _ := io.ReadFull(decoder, first)
	return n == sectorBytes && string(first[257:262]) == "ustar", nil
}
