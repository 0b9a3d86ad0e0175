package landing

import (
	"maps"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// TestImageIsResumedAsItWas: another process reads the source of an image from the properties that the first one has written. What
// is not known stays away, and so does a source that may hold a secret.
func TestImageIsResumedAsItWas(t *testing.T) {
	const url = "https://example.com/a.img"
	p := &Images{cfg: ImagesConfig{Provider: "test"}}
	for _, tt := range []struct {
		name    string
		source  disk.Source
		resumes bool
	}{
		{"an address", disk.Source{URL: url}, true},
		{"a format", disk.Source{URL: url, Format: "qcow2"}, true},
		{"a checksum", disk.Source{URL: url, Checksum: "0a0b", ChecksumType: "sha512"}, true},
		{"all", disk.Source{URL: url, Format: "raw", Checksum: "0c", ChecksumType: "md5"}, true},
		{"a password", disk.Source{URL: "https://user:secret@example.com/a.img"}, false},
		{"a signature", disk.Source{URL: url + "?X-Amz-Signature=0"}, false},
		{"a signature of the checksum", disk.Source{URL: url, Checksum: url + ".sum?X-Amz-Signature=0"}, false},
	} {
		for _, namespace := range []string{"", "team-a"} {
			props := imageProperties(spec.Image{Name: "gold", Namespace: namespace, Job: spec.ImageJob{Source: tt.source}}, "test")
			for key, value := range props {
				if value == "" || value == ":" {
					t.Errorf("%s: %s is %q", tt.name, key, value)
				}
			}
			st := State{Dataset: &truenas.Dataset{LocalUserProperties: props}}
			var got spec.Image
			if resumes := p.Resumable(&got, st); resumes != tt.resumes {
				t.Fatalf("%s: resumable %t", tt.name, resumes)
			}
			want := tt.source
			if g := got.Job.Source; tt.resumes && (g.URL != want.URL || g.Format != want.Format || g.Checksum != want.Checksum || g.ChecksumType != want.ChecksumType || got.Name != "gold" || got.Namespace != namespace) {
				t.Errorf("%s: got %+v", tt.name, got)
			}
			others := maps.Clone(props)
			others[spec.PropProvider] = "other"
			if p.Resumable(&got, State{Dataset: &truenas.Dataset{LocalUserProperties: others}}) || p.Resumable(&got, State{}) {
				t.Errorf("%s: an image of another provider, or none, is resumed", tt.name)
			}
		}
	}
}

// TestMediaPath: the file of an ISO lies where its dataset is mounted, which is not below /mnt for a pool with another root.
func TestMediaPath(t *testing.T) {
	for _, tt := range []struct{ mountpoint, want string }{
		{"", "/mnt/tank/images/a/disk/" + spec.MediaFile},
		{"/mnt/other/disk", "/mnt/other/disk/" + spec.MediaFile},
	} {
		if got := MediaPath(truenas.Dataset{ID: "tank/images/a/disk", Mountpoint: tt.mountpoint}); got != tt.want {
			t.Errorf("mounted at %q: got %s, want %s", tt.mountpoint, got, tt.want)
		}
	}
}

// TestSpaceForAnImage compares with the pool before anything is sent: the file of the image needs its size, and TrueNAS refuses a
// volume above 80 % of what is available.
func TestSpaceForAnImage(t *testing.T) {
	const available = 1000 << 20
	l := &Landing{Place: Place{Dataset: "tank/images/a"}}
	st := State{Pool: &truenas.Dataset{ID: "tank", AvailableBytes: available}}
	for _, tt := range []struct {
		name string
		img  disk.Image
		fits bool
	}{
		{"nothing is known", disk.Image{}, true},
		{"a file that fills the pool", disk.Image{Bytes: available}, true},
		{"a file that is larger", disk.Image{Bytes: available + 1}, false},
		{"a file that is at least larger", disk.Image{LeastBytes: available + 1}, false},
		{"the largest disk", disk.Image{VirtualBytes: available / 100 * MaxVolumePercent}, true},
		{"a larger disk", disk.Image{VirtualBytes: available/100*MaxVolumePercent + 1}, false},
	} {
		err := l.checkSpace(st, &tt.img)
		if (err == nil) != tt.fits || err != nil && !strings.Contains(err.Error(), "no space") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if err := l.checkSpace(State{}, &disk.Image{}); err == nil {
		t.Error("an image fits on a pool that is not there")
	}
}
