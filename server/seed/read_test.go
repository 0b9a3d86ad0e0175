package seed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestReadFile: an image on the NAS may be truncated or damaged anywhere. Reading it stays within it.
func TestReadFile(t *testing.T) {
	files := map[string][]byte{"user-data": bytes.Repeat([]byte("x"), isoSector+1), "meta-data": []byte("a: b\n")}
	image, err := isoImage(label, files)
	if err != nil {
		t.Fatal(err)
	}
	const primary, directory = isoSystem * isoSector, isoRoot * isoSector
	damaged := func(change func([]byte) []byte) []byte { return change(bytes.Clone(image)) }
	for _, tt := range []struct {
		name  string
		image []byte
		file  string
		want  string // the content, if it is found
		iso   bool   // false: not an image
	}{
		{"a file", image, "meta-data", "a: b\n", true},
		{"a file of more than a sector", image, "user-data", string(files["user-data"]), true},
		{"any case of letters", image, "META-DATA", "a: b\n", true},
		{"no such file", image, "network-config", "", true},
		{"the directory itself", image, "\x00", "", true},
		{"an empty image", nil, "meta-data", "", false},
		{"only the system area", image[:primary], "meta-data", "", false},
		{"a descriptor that is cut", image[:primary+isoSector-1], "meta-data", "", false},
		{"a descriptor and nothing else", image[:primary+isoSector], "meta-data", "", false},
		{"a directory that is cut", image[:directory+isoSector-1], "meta-data", "", false},
		{"files that are cut", image[:directory+isoSector], "meta-data", "", false},
		{"another descriptor", damaged(func(b []byte) []byte { b[primary] = 2; return b }), "meta-data", "", false},
		{"an entry that ends behind its sector", damaged(func(b []byte) []byte { b[directory] = 255; return b[:len(b):len(b)] }), "meta-data", "", true},
		{"an entry without length", damaged(func(b []byte) []byte { b[directory] = 33; return b }), "meta-data", "", true},
		{"a file that begins behind the end", damaged(func(b []byte) []byte {
			at := directory + bytes.Index(b[directory:], []byte("meta-data;1")) - 33
			binary.LittleEndian.PutUint32(b[at+2:], 1<<20)
			return b
		}), "meta-data", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadFile(tt.image, tt.file)
			if string(got) != tt.want || (err == nil) != (tt.want != "") || errors.Is(err, ErrNoISO) == tt.iso {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
	// The last byte of the image is read.
	whole, err := isoImage(label, map[string][]byte{"a": bytes.Repeat([]byte("y"), isoSector)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(whole, "a"); err != nil || len(got) != isoSector {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if _, err := ReadFile(whole[:len(whole)-1], "a"); !errors.Is(err, ErrNoISO) {
		t.Errorf("without its last byte: %v", err)
	}
	// An image of another program may have a directory of several sectors, and an entry that ends with its sector.
	binary.LittleEndian.PutUint32(image[primary+156+10:], 2*isoSector)
	long := bytes.Clone(image)
	if _, err := ReadFile(long, "network-config"); err == nil || errors.Is(err, ErrNoISO) {
		t.Errorf("a directory of two sectors: %v", err)
	}
}

// TestFullSectorOfEntries: the last entry of a directory may end where its sector does.
func TestFullSectorOfEntries(t *testing.T) {
	image := make([]byte, 20*isoSector)
	const primary, directory = isoSystem * isoSector, isoRoot * isoSector
	copy(image[primary:], "\x01CD001\x01")
	binary.LittleEndian.PutUint32(image[primary+156+2:], isoRoot)
	binary.LittleEndian.PutUint32(image[primary+156+10:], isoSector)
	at := directory
	put := func(length int, name string) {
		image[at] = byte(length)
		binary.LittleEndian.PutUint32(image[at+2:], isoRoot+1)
		binary.LittleEndian.PutUint32(image[at+10:], 3)
		image[at+32] = byte(len(name))
		copy(image[at+33:], name)
		at += length
	}
	for i := range 11 {
		put(168, fmt.Sprintf("F%d", i))
	}
	put(isoSector-11*168, "L")
	copy(image[(isoRoot+1)*isoSector:], "end")
	for _, name := range []string{"F0", "F10", "L"} {
		if got, err := ReadFile(image, name); err != nil || string(got) != "end" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	// The shortest entry has 34 bytes.
	clear(image[directory : directory+isoSector])
	at = directory
	put(34, "A")
	put(34, "B")
	if got, err := ReadFile(image, "B"); err != nil || string(got) != "end" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestImagesThatCannotBeMade: more files than a directory of one sector holds, or a name that no entry holds.
func TestImagesThatCannotBeMade(t *testing.T) {
	files := map[string][]byte{}
	for i := range 100 {
		files[fmt.Sprintf("f%02d", i)] = nil
		_, err := isoImage(label, files)
		// Two entries of 34 bytes, and 38 for each file.
		if fits := 2*34+38*len(files) <= isoSector; (err == nil) != fits {
			t.Fatalf("%d files: %v", len(files), err)
		}
	}
	if _, err := isoImage(label, map[string][]byte{strings.Repeat("x", 250): nil}); err == nil {
		t.Error("a name of 250 letters")
	}
	s := &Seed{files: files}
	if image, err := s.ISO(); err == nil || image != nil || !strings.HasPrefix(err.Error(), "seed: 100 files do not fit") {
		t.Errorf("got %d bytes, %v", len(image), err)
	}
}
