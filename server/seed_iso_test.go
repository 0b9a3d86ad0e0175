package server

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kdomanski/iso9660"
)

// TestImageIsTheLibrarys compares images with those that the library makes by way of a folder, which guests are known to
// read. They differ in the name of the program and in the times.
func TestImageIsTheLibrarys(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string][]byte
	}{
		{"user data", map[string][]byte{"user-data": []byte("#cloud-config\n"), "meta-data": []byte("instance-id: x\n")}},
		{"whole sectors", map[string][]byte{"user-data": bytes.Repeat([]byte("x"), 2*isoSector), "meta-data": {}, "network-config": []byte("version: 2\n")}},
		{"half a sector more", map[string][]byte{"user-data": bytes.Repeat([]byte("x"), 7*isoSector+100)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := isoImage(seedLabel, tt.files)
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
				// The library fills the last sector of a file with what the one before held.
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
	if err := w.WriteTo(&image, seedLabel); err != nil {
		t.Fatal(err)
	}
	return image.Bytes()
}

// TestSeedsTouchNoDisk: there is no folder for temporary files, and seeds are made.
func TestSeedsTouchNoDisk(t *testing.T) {
	t.Setenv("TMPDIR", "/nowhere")
	s := newSeed(spec{name: "web1", userData: []byte(strings.Repeat("secret\n", 100_000))}, "id-1", nil)
	if image, err := s.iso(); err != nil || len(image)%seedAlign != 0 {
		t.Errorf("%d bytes, %v", len(image), err)
	}
}
