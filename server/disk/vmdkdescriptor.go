package disk

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// vmdkDescriptor is the format of a separate descriptor: all its extents are other files.
const vmdkDescriptor = "vmdk descriptor"

// noParent is the content id of a disk without a parent.
const noParent = "ffffffff"

// vmdkSelfContained are the kinds of disk (createType) in one file.
var vmdkSelfContained = []string{"monolithicSparse", "streamOptimized"}

// isDescriptor decides as QEMU does (vmdk_probe in block/vmdk.c): comments and blank lines, then a version. QEMU would read any
// such text as a list of files to open.
func isDescriptor(content []byte) bool {
	for len(content) > 0 {
		line, rest, _ := bytes.Cut(content, []byte("\n"))
		switch text := strings.TrimSuffix(strings.TrimLeft(string(line), " "), "\r"); {
		case text == "", strings.HasPrefix(text, "#"):
			content = rest
		default:
			return slices.Contains([]string{"version=1", "version=2", "version=3"}, text)
		}
	}
	return false
}

// extentLine matches RW 4192256 SPARSE "disk.vmdk", maybe with an offset after it.
var extentLine = regexp.MustCompile(`^(RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)(?:\s+"([^"]*)")?`)

// checkDescriptor accepts the descriptor of a disk in one file without a parent.
func checkDescriptor(text string) error {
	extents := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, isField := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.Trim(strings.TrimSpace(value), `"`)
		extent := extentLine.FindStringSubmatch(line)
		switch {
		case extent != nil:
			extents++
			if err := checkExtent(extent[2], extent[3]); err != nil {
				return err
			}
		case isField && strings.EqualFold(name, "parentCID") && !strings.EqualFold(value, noParent):
			return refusal(ErrHostile, "vmdk parentCID is %q (it has a parent), allowed is %s", value, noParent)
		case isField && strings.EqualFold(name, "parentFileNameHint"):
			return refusal(ErrHostile, "vmdk parentFileNameHint is set, allowed are images without a parent")
		case isField && strings.EqualFold(name, "createType") && !slices.Contains(vmdkSelfContained, value):
			return refusal(ErrHostile, "vmdk createType is %q (it names other files), allowed are %s", value, vmdkSelfContained)
		}
	}
	if extents > 1 {
		return refusal(ErrHostile, "vmdk names %d extents, allowed is one", extents)
	}
	return nil
}

// checkExtent accepts the only extent of a disk in one file: the file itself.
func checkExtent(kind, file string) error {
	switch {
	case kind != "SPARSE":
		return refusal(ErrHostile, "vmdk extent is of type %s (another file), allowed is SPARSE", kind)
	case strings.ContainsAny(file, `/\:`):
		return refusal(ErrHostile, "vmdk extent names a path, allowed is a file name")
	}
	return nil
}
