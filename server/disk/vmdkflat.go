package disk

import (
	"bytes"
	"io"
	"path"
	"regexp"
	"strconv"
)

// flatExtent is how the parts of a flat vmdk are called: disk-flat.vmdk, or disk-f001.vmdk and so on.
var flatExtent = regexp.MustCompile(`^(.*)-f(?:lat|(\d{3,}))\.vmdk$`)

// flatLine is an extent of a flat disk in a descriptor: RW 4192256 FLAT "disk-f001.vmdk" 0.
var flatLine = regexp.MustCompile(`(?m)^\s*(?:RW|RDONLY)\s+(\d+)\s+(?:FLAT|VMFS)\s+"([^"]*)"(?:\s+(\d+))?\s*$`)

// flatDisk is a flat vmdk in an archive that holds all of its parts: raw extents, which are one disk one after the other,
// and the descriptor that lists them. The descriptor may come first or last.
type flatDisk struct {
	members
	prefix     string // of the parts' names
	descriptor []byte
	sizes      []int64 // bytes of the parts that came
	names      []string
}

// next implements [members]. A descriptor is kept on the way.
func (f *flatDisk) next() (member, error) {
	m, err := f.members.next()
	if err != nil || path.Ext(m.name) != ".vmdk" || m.size > vmdkMaxDescriptor {
		return m, err
	}
	start := &head{r: m.Reader}
	text, err := start.upTo(vmdkMaxDescriptor)
	if err == nil && isDescriptor(text) {
		f.descriptor = bytes.Clone(text)
	}
	m.Reader = start.whole()
	return m, err
}

// begins reports whether a file is the first part of a flat disk.
func (f *flatDisk) begins(name string) bool {
	parts := flatExtent.FindStringSubmatch(name)
	if parts == nil || parts[2] != "" && number(parts[2]) != 1 {
		return false
	}
	f.prefix = parts[1]
	return true
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits) // It was matched.
	return n
}

// flatParts reads the parts of a flat disk one after the other.
type flatParts struct {
	disk    *flatDisk
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

// advance goes on to the next part; [io.EOF] when there is none, and the descriptor lists those that came.
func (f *flatParts) advance() error {
	f.disk.names, f.disk.sizes = append(f.disk.names, path.Base(f.current.name)), append(f.disk.sizes, f.n)
	next, err := f.pick.find(f.disk)
	switch {
	case err != nil:
		return err
	case next == nil:
		return f.disk.complete()
	}
	parts := flatExtent.FindStringSubmatch(next.name)
	if parts == nil || parts[1] != f.disk.prefix || number(parts[2]) != len(f.disk.names)+1 {
		return f.pick.ambiguous([]string{f.disk.names[0], next.name})
	}
	f.current, f.n = next, 0
	return nil
}

// complete compares the parts with what the descriptor lists. It answers [io.EOF] when none is missing.
func (f *flatDisk) complete() error {
	if f.descriptor == nil {
		if len(f.names) == 1 && f.names[0] == path.Base(f.prefix)+"-flat.vmdk" {
			return io.EOF // It is the whole disk, and its size is what it is.
		}
		return refusal(ErrUnsupported, "archive holds parts of a flat vmdk and not the descriptor that lists them")
	}
	lines := flatLine.FindAllSubmatch(f.descriptor, -1)
	if len(lines) != len(f.names) {
		return refusal(ErrLength, "vmdk has %d parts, the archive holds %d of them", len(lines), len(f.names))
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
