package seed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrNoISO is returned by [ReadFile] for a file that is not an ISO 9660 image, or is truncated.
var ErrNoISO = errors.New("not an ISO 9660 image")

// ReadFile reads a file from the root directory of an ISO 9660 image. The image is on the NAS, where other clients may have written
// it, so ReadFile trusts nothing in it: it stays within the image, and reads it once. The library for these images follows circular
// links and trusts the sizes in an image.
func ReadFile(image []byte, name string) ([]byte, error) {
	const primary = isoSystem * isoSector
	if len(image) < primary+isoSector || string(image[primary:primary+6]) != "\x01CD001" {
		return nil, ErrNoISO
	}
	root := image[primary+156 : primary+156+34]
	directory, ok := extent(image, root)
	if !ok {
		return nil, ErrNoISO
	}
	for len(directory) > 0 {
		sector := directory[:min(len(directory), isoSector)]
		directory = directory[len(sector):]
		for len(sector) > 33 && int(sector[0]) > 33 && int(sector[0]) <= len(sector) {
			entry := sector[:sector[0]]
			sector = sector[sector[0]:]
			const isDirectory = 2
			if entry[25]&isDirectory != 0 || !strings.EqualFold(isoName(entry), name) {
				continue
			}
			content, ok := extent(image, entry)
			if !ok {
				return nil, ErrNoISO
			}
			return content, nil
		}
	}
	return nil, fmt.Errorf("holds no %s", name)
}

// extent returns the file of a directory's entry.
func extent(image, entry []byte) ([]byte, bool) {
	from := int64(binary.LittleEndian.Uint32(entry[2:])) * isoSector
	to := from + int64(binary.LittleEndian.Uint32(entry[10:]))
	if to > int64(len(image)) {
		return nil, false
	}
	return image[from:to], true
}

// isoName returns the name of a directory's entry, which is at least 34 bytes long: the name in the Rock Ridge extension if there
// is one, since the plain name may have been cut to eight letters.
func isoName(entry []byte) string {
	end := 33 + int(entry[32])
	if end > len(entry) {
		return ""
	}
	plain, _, _ := strings.Cut(string(entry[33:end]), ";")
	more := entry[min(len(entry), end+1-int(entry[32])%2):]
	for len(more) > 4 && int(more[2]) > 4 && int(more[2]) <= len(more) {
		if string(more[:2]) == "NM" {
			return string(more[5:more[2]])
		}
		more = more[more[2]:]
	}
	return strings.TrimSuffix(plain, ".")
}
