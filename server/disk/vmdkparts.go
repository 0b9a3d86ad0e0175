package disk

import (
	"bytes"
	"io"
	"path"
	"regexp"
	"strconv"
)

// partName matches the parts of a vmdk: disk-flat.vmdk, disk-f001.vmdk and so on for flat ones, disk-s001.vmdk and so on for sparse
// ones.
var partName = regexp.MustCompile(`^(.*)-(?:flat|([fs])(\d{3,}))\.vmdk$`)

// partLine matches a part of a disk in a descriptor: RW 4192256 FLAT "disk-f001.vmdk" 0.
var partLine = regexp.MustCompile(`(?m)^\s*(?:RW|RDONLY)\s+(\d+)\s+(?:FLAT|VMFS|SPARSE)\s+"([^"]*)"(?:\s+(\d+))?\s*$`)

// partedDisk is a vmdk in an archive with all of its parts, which form the disk in sequence, and the descriptor that lists them.
// The descriptor may come first or last.
type partedDisk struct {
	members
	prefix     string // the prefix of the parts' names
	sparse     bool
	descriptor []byte
	sizes      []int64 // bytes of the parts that were read
	names      []string
}

// next implements [members]. It keeps a descriptor when it reads one.
func (f *partedDisk) next() (member, error) {
	m, err := f.members.next()
	if err != nil || path.Ext(m.name) != ".vmdk" || m.size > vmdkMaxDescriptor {
		return m, err
	}
	start := &head{r: m.Reader}
	text, err := start.upTo(vmdkMaxDescriptor)
	if err == nil && isDescriptor(text) {
		f.descriptor = bytes.Clone(text)
	}
	m.Reader = start.content()
	return m, err
}

// begins reports whether a file is the first part of a disk.
func (f *partedDisk) begins(name string) bool {
	parts := partName.FindStringSubmatch(name)
	if parts == nil || parts[3] != "" && number(parts[3]) != 1 {
		return false
	}
	f.prefix, f.sparse = parts[1], parts[2] == "s"
	return true
}

// following returns the part after one with this size. It returns [io.EOF] after the last part, if the descriptor lists all parts
// that were read.
func (f *partedDisk) following(pick choice, current *member, size int64) (*member, error) {
	f.names, f.sizes = append(f.names, path.Base(current.name)), append(f.sizes, size)
	next, err := pick.find(f)
	switch {
	case err != nil:
		return nil, err
	case next == nil:
		return nil, f.complete()
	}
	parts := partName.FindStringSubmatch(next.name)
	if parts == nil || parts[1] != f.prefix || (parts[2] == "s") != f.sparse || number(parts[3]) != len(f.names)+1 {
		return nil, pick.ambiguous([]string{f.names[0], next.name})
	}
	return next, nil
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits) // The expression has matched digits.
	return n
}

// flatParts reads the parts of a flat disk one after the other.
type flatParts struct {
	disk    *partedDisk
	pick    choice
	current *member
	n       int64 // bytes of the current part
	err     error
}

// Read implements [io.Reader].
func (f *flatParts) Read(p []byte) (int, error) {
	for f.err == nil {
		n, err := f.current.Read(p)
		f.n += int64(n)
		if err == io.EOF {
			err = f.advance()
		}
		f.err = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, f.err
}

// advance moves to the next part.
func (f *flatParts) advance() error {
	next, err := f.disk.following(f.pick, f.current, f.n)
	f.current, f.n = next, 0
	return err
}

// complete compares the parts with the list in the descriptor. It returns [io.EOF] when none is missing.
func (f *partedDisk) complete() error {
	if f.descriptor == nil {
		if len(f.names) == 1 && f.names[0] == path.Base(f.prefix)+"-flat.vmdk" {
			return io.EOF // The single part is the complete disk, of any size.
		}
		return refusal(ErrUnsupported, "archive holds parts of a vmdk and not the descriptor that lists them")
	}
	lines := partLine.FindAllSubmatch(f.descriptor, -1)
	if len(lines) != len(f.names) {
		return refusal(ErrLength, "vmdk has %d parts, the archive contains only %d", len(lines), len(f.names))
	}
	for i, line := range lines {
		sectors, err := strconv.ParseInt(string(line[1]), 10, 64)
		switch {
		case err != nil || string(line[2]) != f.names[i] || len(line[3]) > 0 && string(line[3]) != "0":
			return refusal(ErrHostile, "vmdk lists the part %q, expected %q from its beginning", line[2], f.names[i])
		case sectors != f.sizes[i]/sectorBytes:
			return refusal(ErrLength, "vmdk lists %d sectors of %q, there are %d", sectors, line[2], f.sizes[i]/sectorBytes)
		}
	}
	return io.EOF
}
