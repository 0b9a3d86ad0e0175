package seed

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"

	"virtrigaud-provider-truenas/server/spec"
)

// TestImageEqualsTheLibrarys compares images with those that the library makes from a folder, which guests are known to read. They
// differ in the name of the program and in the times.
func TestImageEqualsTheLibrarys(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string][]byte
	}{
		{"user data", map[string][]byte{"user-data": []byte("#cloud-config\n"), "meta-data": []byte("instance-id: x\n")}},
		{"whole sectors", map[string][]byte{"user-data": bytes.Repeat([]byte("x"), 2*isoSector), "meta-data": {}, "network-config": []byte("version: 2\n")}},
		{"half a sector more", map[string][]byte{"user-data": bytes.Repeat([]byte("x"), 7*isoSector+100)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := isoImage(label, tt.files)
			if err != nil {
				t.Fatal(err)
			}
			want := librarys(t, tt.files)
			if len(got) != len(want) {
				t.Fatalf("%d bytes, and the library's image has %d", len(got), len(want))
			}
			for _, image := range [][]byte{got, want} {
				primary := image[isoSystem*isoSector:]
				clear(primary[574:702])
				clear(primary[813:881])
			}
			for i := range want {
				// The library fills the last sector of a file with the contents of the previous one.
				if got[i] != want[i] && (got[i] != 0 || i < (isoRoot+1)*isoSector) {
					t.Fatalf("byte %d is %#x, and %#x in the library's image", i, got[i], want[i])
				}
			}
			files := readISO(t, got)
			for name, content := range tt.files {
				if files[name] != string(content) {
					t.Errorf("%s holds %d bytes, not %d", name, len(files[name]), len(content))
				}
			}
		})
	}
}

func librarys(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	w, err := iso9660.NewWriter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Cleanup() //nolint:errcheck // A folder of the test's.
	for name, content := range files {
		if err := w.AddFile(bytes.NewReader(content), name); err != nil {
			t.Fatal(err)
		}
	}
	var image bytes.Buffer
	if err := w.WriteTo(&image, label); err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

// TestSeedsTouchNoDisk makes seeds without a folder for temporary files.
func TestSeedsTouchNoDisk(t *testing.T) {
	t.Setenv("TMPDIR", "/nowhere")
	s := New(spec.VM{Name: "web1", UserData: []byte(strings.Repeat("secret\n", 100_000))}, "id-1", nil)
	if image, err := s.ISO(); err != nil || len(image)%align != 0 {
		t.Errorf("%d bytes, %v", len(image), err)
	}
}

// TestHostileSeeds reads images with circular links, or links beyond the end.
func TestHostileSeeds(t *testing.T) {
	good, err := isoImage(label, map[string][]byte{"user-data": []byte("#cloud-config\n"), "meta-data": []byte("a: b\n")})
	if err != nil {
		t.Fatal(err)
	}
	const primary, root = isoSystem * isoSector, isoRoot * isoSector
	ridge := append([]byte{'N', 'M', 14, 1, 0}, "user-data"...)
	for _, tt := range []struct {
		name, want string
		spoil      func(image []byte) []byte
	}{
		{"a good one", "#cloud-config\n", func(b []byte) []byte { return b }},
		{"nothing", "", func([]byte) []byte { return nil }},
		{"zeros", "", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"half of it", "", func(b []byte) []byte { return b[:root+10] }},
		{"a root directory beyond the end", "", func(b []byte) []byte { copy(b[primary+156+2:], "\xff\xff\xff\xff"); return b }},
		{"a root directory of 4 GiB", "", func(b []byte) []byte { copy(b[primary+156+10:], "\xff\xff\xff\xff"); return b }},
		{"an empty directory", "", func(b []byte) []byte { clear(b[root : root+isoSector]); return b }},
		{"entries of one byte", "", func(b []byte) []byte {
			for i := range isoSector {
				b[root+i] = 1
			}
			return b
		}},
		{"entries longer than the sector", "", func(b []byte) []byte { b[root+isoSector-40] = 255; b[root] = 255; return b }},
		{"a file beyond the end", "", func(b []byte) []byte {
			copy(b[bytes.Index(b, []byte("user-data;1"))-33+10:], "\xff\xff\xff\x7f")
			return b
		}},
		{"a directory of that name", "", func(b []byte) []byte { b[bytes.Index(b, []byte("user-data;1"))-33+25] = 2; return b }},
		{"extensions that lead in circles", "", func(b []byte) []byte {
			at := bytes.Index(b, []byte("user-data;1")) - 33
			b[at] = 33 + 11 + 28
			copy(b[at+33+11:], append([]byte{'C', 'E', 28, 1}, make([]byte, 24)...))
			return b
		}},
		{"an extension of no length", "", func(b []byte) []byte {
			at := bytes.Index(b, []byte("user-data;1")) - 33
			b[at] = 33 + 11 + 28
			copy(b[at+33+11:], "NM\x00\x01")
			return b
		}},
		{"a name in the Rock Ridge extension", "#cloud-config\n", func(b []byte) []byte {
			at := bytes.Index(b, []byte("user-data;1")) - 33
			copy(b[at+33:], "USER_DAT.;1")
			b[at] = byte(33 + 11 + len(ridge))
			copy(b[at+33+11:], ridge)
			return b
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := ReadFile(tt.spoil(bytes.Clone(good)), "user-data")
			if tt.want != "" && (err != nil || string(data) != tt.want) {
				t.Errorf("got %q, %v", data, err)
			}
			if tt.want == "" && err == nil && len(data) > len(good) {
				t.Errorf("got %d bytes", len(data))
			}
		})
	}
}
