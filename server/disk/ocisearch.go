package disk

import (
	"archive/tar"
	"context"
	"io"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
)

// diskFolder is the folder of the disk in a container image.
const diskFolder = "disk"

// Names by which an upper layer removes entries of the lower ones (OCI image specification, layer.md): a file or folder, and all
// earlier contents of a folder.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// layerSearch finds the disk of a container image, layer by layer from the top. It sees the files as a container would: files that
// an upper layer replaced or removed do not count.
type layerSearch struct {
	o    *Opener
	repo *remote.Repository
	src  Source
	file string // the requested name; empty: the only disk

	hidden map[string]bool // paths that upper layers have or remove
	opaque map[string]bool // folders whose entries in lower layers do not count
}

// open opens the first layer that is a disk or has one inside.
func (s *layerSearch) open(ctx context.Context, layers []ocispec.Descriptor, announced int64) (*supply, error) {
	for i, layer := range layers {
		found, err := s.layer(ctx, layer, len(layers) == 1, layers[i+1:])
		if err != nil {
			return nil, err
		}
		if found == nil {
			continue
		}
		if announced >= 0 && found.size != announced {
			found.Close()
			return nil, refusal(ErrLength, "source has %d bytes, announced were %d", found.size, announced)
		}
		return found, nil
	}
	if s.file != "" {
		return nil, s.choice().none()
	}
	return nil, refusal(ErrUnsupported, "oci image has no disk file under /%s/ in any layer", diskFolder)
}

// layer opens a layer, and returns the disk that it is or contains; nil: none.
func (s *layerSearch) layer(ctx context.Context, layer ocispec.Descriptor, alone bool, lower []ocispec.Descriptor) (*supply, error) {
	b, err := s.openLayer(ctx, layer)
	if err != nil {
		return nil, err
	}
	title := layer.Annotations[ocispec.AnnotationTitle]
	var found *supply
	switch {
	case !b.isTar && alone, b.isTar && title != "": // a file with a title, and not a part of a file system
		found = b.from
		if path.Base(title) == s.file || title == s.file {
			found.member = title
		}
	case b.isTar:
		found, err = s.inside(ctx, b, lower)
	}
	if found == nil {
		b.from.Close()
	}
	return found, err
}

// openedLayer is a layer after a check of its first bytes.
type openedLayer struct {
	from   *supply
	kind   Compression
	isTar  bool
	window int64 // bytes
}

func (s *layerSearch) openLayer(ctx context.Context, layer ocispec.Descriptor) (openedLayer, error) {
	from, err := s.o.openBlob(ctx, s.repo, layer, s.src)
	if err != nil {
		return openedLayer{}, err
	}
	b := openedLayer{from: from}
	packed := &head{r: from.Reader}
	if b.kind, err = sniffCompression(packed); err == nil {
		b.window = windowOf(b.kind, packed)
		b.isTar, err = startsTar(packed, b.kind)
	}
	if err != nil {
		from.Close()
		return openedLayer{}, err
	}
	from.Reader = packed.content()
	return b, nil
}

// inside returns the disk in a layer that is an archive, or nil.
func (s *layerSearch) inside(ctx context.Context, b openedLayer, lower []ocispec.Descriptor) (*supply, error) {
	files, done, err := s.files(ctx, b)
	if err != nil {
		return nil, err
	}
	pick := s.choice()
	found, err := pick.find(files)
	if found == nil || err != nil {
		s.hide(files.names)
		done()
		return nil, err
	}
	rest := func() error {
		if err := pick.only(found.name, files); err != nil {
			return err
		}
		// Read the rest of the layer, since only its end verifies the digest.
		if _, err := io.Copy(io.Discard, b.from.Reader); err != nil || s.file != "" {
			return err
		}
		s.hide(files.names)
		return s.below(ctx, found.name, lower)
	}
	end := b.from.close
	return &supply{
		Reader: &chosen{r: found.Reader, rest: rest}, size: found.size, sized: true, wide: b.window > narrowWindow,
		close: func() { done(); end() }, member: found.name,
	}, nil
}

// layerFiles are the files of a layer, with the names that were read so far.
type layerFiles struct {
	tarMembers
	names []string
}

// files starts to read a layer. done releases its resources.
func (s *layerSearch) files(ctx context.Context, b openedLayer) (files *layerFiles, done func(), err error) {
	window, release, err := s.o.claimDecoder(ctx, b.kind, b.window)
	if err != nil {
		return nil, nil, err
	}
	in := &intake{r: b.from.Reader}
	decoder, err := newDecoder(b.kind, in, window, s.o.pairing)
	if err != nil {
		release()
		return nil, nil, refusal(ErrCorrupt, "layer cannot be unpacked: %s", err)
	}
	layer := &unpacked{kind: b.kind, decoder: decoder, in: in, window: window}
	limits := &bounded{r: layer, in: in, most: 2 * fileLimit(s.o.opts.MaxVirtualBytes), ratio: s.o.opts.MaxExpansion}
	files = &layerFiles{}
	files.tarMembers = tarMembers{tar.NewReader(limits), func(name string) { files.names = append(files.names, name) }}
	return files, func() { layer.Close(); release() }, nil
}

// below refuses an image whose lower layers have another visible disk.
func (s *layerSearch) below(ctx context.Context, first string, layers []ocispec.Descriptor) error {
	names := []string{first}
	for _, layer := range layers {
		b, err := s.openLayer(ctx, layer)
		if err != nil {
			return err
		}
		if b.isTar {
			err = s.collect(ctx, b, &names)
		}
		b.from.Close()
		if err != nil {
			return err
		}
	}
	if len(names) > 1 {
		return s.choice().ambiguous(names)
	}
	return nil
}

// collect adds the disks of a layer to names.
func (s *layerSearch) collect(ctx context.Context, b openedLayer, names *[]string) error {
	files, done, err := s.files(ctx, b)
	if err != nil {
		return err
	}
	defer done()
	for pick := s.choice(); ; {
		found, err := pick.find(files)
		if err != nil {
			return err
		}
		if found == nil {
			s.hide(files.names)
			return nil
		}
		*names = append(*names, found.name)
	}
}

// choice returns the rule that selects the disk among the files of a layer.
func (s *layerSearch) choice() choice {
	return choice{
		file: s.file, trusted: true, in: "oci image", hidden: s.hides,
		may: func(name string) bool { return path.Dir(name) == diskFolder },
	}
}

// hide records the entries that a complete layer has or removes.
func (s *layerSearch) hide(names []string) {
	for _, name := range names {
		dir, base := path.Split(name)
		switch gone, isWhiteout := strings.CutPrefix(base, whiteout); {
		case base == opaque:
			s.opaque[path.Clean(dir)] = true
		case isWhiteout:
			s.hidden[dir+gone] = true
		default:
			s.hidden[name] = true
		}
	}
}

// hides reports whether a file of the current layer is invisible to a container.
func (s *layerSearch) hides(name string) bool {
	if strings.HasPrefix(path.Base(name), whiteout) || s.hidden[name] {
		return true
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if s.hidden[dir] || s.opaque[dir] {
			return true
		}
	}
	return s.opaque["."]
}
