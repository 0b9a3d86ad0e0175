package disk

import (
	"archive/tar"
	"bufio"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
)

// member is a regular file in an archive. The caller reads it before it calls next again, or not at all.
type member struct {
	io.Reader
	name string // without a leading slash
	size int64  // bytes, −1 unknown
}

// members iterates over the files of an archive. After the last one, next returns [io.EOF].
type members interface {
	next() (member, error)
}

// archiveKind is the kind of archive in a stream without compression.
type archiveKind string

const (
	noArchive  archiveKind = ""
	tarArchive archiveKind = "tar"
	zipArchive archiveKind = "zip"
	vhdPacking archiveKind = "dynamic vhd" // it is rewritten as qcow2 during the transfer
)

// sniffArchive detects the kind by the first bytes.
func sniffArchive(h *head) (archiveKind, error) {
	start, err := h.upTo(sectorBytes)
	switch {
	case err != nil:
		return noArchive, err
	case len(start) >= 262 && string(start[257:262]) == "ustar":
		return tarArchive, nil
	case strings.HasPrefix(string(start), zipLocalHeader):
		return zipArchive, nil
	}
	return noArchive, nil
}

// open starts the iteration over an archive.
func (k archiveKind) open(r io.Reader) members {
	if k == zipArchive {
		return &zipMembers{in: bufio.NewReaderSize(r, 64*kib)}
	}
	return &tarMembers{tar.NewReader(r), func(string) {}}
}

// tarMembers iterates over a tar archive.
type tarMembers struct {
	archive *tar.Reader
	seen    func(name string) // called for every entry except folders, in order
}

func (t *tarMembers) next() (member, error) {
	for {
		header, err := t.archive.Next()
		switch {
		case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
			return member{}, refusal(ErrCorrupt, "tar archive is damaged: %s", err)
		case err != nil:
			return member{}, err
		}
		name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
		if header.Typeflag != tar.TypeDir {
			t.seen(name)
		}
		if header.Typeflag == tar.TypeReg || header.Typeflag == tar.TypeGNUSparse {
			return member{t.archive, name, header.Size}, nil
		}
	}
}

// choice selects the disk among the files of an archive.
type choice struct {
	// file is the requested name; empty: the only disk in the archive.
	file string
	// may reports whether a disk may have that name; nil: any name that is not typical of a program's files.
	may func(name string) bool
	// hidden reports files that an upper layer hides; nil: none.
	hidden func(name string) bool
	// trusted means that files of an unknown format are disks, independent of their names.
	trusted bool
	in      string // the name of the archive, for messages
	most    int    // the number of files to check; zero: all
}

// maxMembers bounds the files to check in an archive. An archive with more is not a disk, but for example a complete file system.
// Appliances have about ten.
const maxMembers = 500

// find advances to the disk in an archive, nil when there is none.
func (c choice) find(files members) (*member, error) {
	for n := 0; ; n++ {
		if c.most > 0 && n == c.most {
			return nil, refusal(ErrUnsupported, "%s contains no disk image among its first %d files", c.in, c.most)
		}
		m, err := files.next()
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		found, err := c.isDisk(&m)
		if err != nil || found {
			return &m, err
		}
	}
}

// only reads the rest of an archive, and refuses an archive with a second disk, because the caller then has to choose.
func (c choice) only(first string, files members) error {
	if c.file != "" {
		return nil
	}
	names := []string{first}
	for {
		m, err := c.find(files)
		if err != nil {
			return err
		}
		if m == nil {
			break
		}
		names = append(names, m.name)
	}
	if len(names) > 1 {
		return c.ambiguous(names)
	}
	return nil
}

// ambiguous names the disks to choose from.
func (c choice) ambiguous(names []string) error {
	return refusal(ErrUnsupported, "%s contains %d disks, %q: append #%s to the url, or another of these names", c.in, len(names), names, names[0])
}

// none is the error for an archive without a disk.
func (c choice) none() error {
	if c.file != "" {
		return refusal(ErrNotFound, "%s contains no file %q", c.in, c.file)
	}
	return refusal(ErrUnsupported, "%s contains no disk image", c.in)
}

// isDisk decides by name and content. It puts the bytes that it reads back.
func (c choice) isDisk(m *member) (bool, error) {
	if c.hidden != nil && c.hidden(m.name) {
		return false, nil
	}
	if c.file != "" {
		return m.name == strings.TrimPrefix(c.file, "/") || path.Base(m.name) == c.file, nil
	}
	if c.may != nil && !c.may(m.name) || c.may == nil && isMeta(m.name) {
		return false, nil
	}
	start := &head{r: m.Reader}
	is, err := c.judged(start, m)
	m.Reader = start.content()
	return is, err
}

// judged decides by the first bytes of a file. The reader of the image checks later whether the disk is valid.
func (c choice) judged(start *head, m *member) (bool, error) {
	packed, err := sniffCompression(start)
	if err != nil {
		return false, err
	}
	if packed != Uncompressed {
		return c.trusted || hasDiskName(m.name), nil
	}
	is, err := probe(start)
	switch {
	case err != nil:
		return false, err
	case is.name == dynamicVHD, Format(is.name) != Raw && slices.Contains(formats, Format(is.name)):
		return true, nil
	case Format(is.name) != Raw || len(start.buf) < sectorBytes || m.size%sectorBytes > 0:
		return false, nil
	}
	return c.trusted || hasDiskName(m.name) || measured(start.buf, Raw).by != "", nil
}

// hasDiskName reports whether a file has a typical name of a disk.
func hasDiskName(name string) bool {
	return slices.Contains(diskSuffixes, strings.ToLower(path.Ext(name)))
}

// isMeta recognizes the metadata files that macOS adds to archives.
func isMeta(name string) bool {
	return strings.HasPrefix(path.Base(name), "._") || strings.Contains("/"+name, "/__MACOSX/")
}

// chosen is a disk in an archive. At its end, it reads the rest of the archive.
type chosen struct {
	r    io.Reader
	rest func() error
	err  error
}

// Read implements [io.Reader].
func (c *chosen) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = refusal(ErrCorrupt, "archive ends early")
	}
	if err == io.EOF {
		if restErr := c.rest(); restErr != nil {
			err = restErr
		}
	}
	c.err = err
	return n, err
}
