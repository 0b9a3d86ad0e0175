package spec

import (
	"strings"
	"testing"
)

func TestNasNameIsWhatTrueNASAllows(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a plain name", "web1", "web1"},
		{"hyphens", "talos-workers-abc123", "talos_workers_abc123"},
		{"an underscore is not a hyphen", "a_b", "aZ5fb"},
		{"dots", "web1.example", "web1Z2eexample"},
		{"the escape itself", "Z", "Z5a"},
		{"capitals stay", "Web", "Web"},
		{"the first and the last letters and digits", "azAY09", "azAY09"},
		{"the characters beside them", "`{@[/:", "Z60Z7bZ40Z5bZ2fZ3a"},
		{"as long as can be", strings.Repeat("x", MaxNASName), strings.Repeat("x", MaxNASName)},
		{"other alphabets", "ü", "Zc3Zbc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := NASName(tt.in); got != tt.want {
				t.Errorf("NASName(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestNASNamesStayDifferent(t *testing.T) {
	long := strings.Repeat("a", 80)
	names := []string{"a-b", "a_b", "aZ5fb", "a.b", "a--b", "a__b", "a-_b", "a_-b", "a", "A", "aZ", "Z", "-", "_", long, long + "b", long + "-", strings.Repeat(".", 60), strings.Repeat(".", 61)}
	seen := map[string]string{}
	for _, name := range names {
		mapped := NASName(name)
		if other, ok := seen[mapped]; ok {
			t.Errorf("%q and %q both map to %q", name, other, mapped)
		}
		seen[mapped] = name
		if len(mapped) > MaxNASName {
			t.Errorf("%q maps to %d characters", name, len(mapped))
		}
		if strings.Trim(mapped, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			t.Errorf("%q maps to %q, which TrueNAS refuses", name, mapped)
		}
	}
}

func FuzzNasName(f *testing.F) {
	f.Add("a-b", "a_b")
	f.Add("Z5f", "_")
	f.Add(strings.Repeat("x", 100), strings.Repeat("x", 101))
	f.Fuzz(func(t *testing.T, a, b string) {
		if a != b && NASName(a) == NASName(b) {
			t.Errorf("%q and %q both map to %q", a, b, NASName(a))
		}
		if a != b && diskVolumeName(a) == diskVolumeName(b) {
			t.Errorf("disks %q and %q both map to %q", a, b, diskVolumeName(a))
		}
	})
}

func TestVolumeNamesNeverLookLikeImageFiles(t *testing.T) {
	for _, name := range []string{"raw", "data-raw", "x.qcow2", "vmdk", "myvdi", "root"} {
		volume := diskVolumeName(name)
		if volume == RootDisk {
			t.Errorf("%q maps to the root disk", name)
		}
		for _, suffix := range imageSuffixes {
			if strings.HasSuffix(volume, suffix) {
				t.Errorf("%q maps to %q, which TrueNAS takes for an image file", name, volume)
			}
		}
	}
}

// Two different pairs of namespace and name never get the same name, however they are split, nor that of a name without a
// namespace.
func TestQualifiedName(t *testing.T) {
	long := strings.Repeat("a", 60)
	seen := map[string][2]string{}
	for _, pair := range [][2]string{
		{"", "a"}, {"", "a.b"}, {"", "aZZb"}, {"a", "b"}, {"a", "Zb"}, {"aZ", "b"}, {"a-b", "c"}, {"a", "b-c"}, {"a.b", "c"}, {"a", "b.c"},
		{"", "a-b"}, {long, long}, {long, long + "b"}, {long + "a", long[1:]}, {"", long + long},
	} {
		got := QualifiedName(pair[0], pair[1])
		if len(got) > MaxNASName || strings.Trim(got, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			t.Errorf("%q: the name is %q", pair, got)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q both become %q", pair, other, got)
		}
		seen[got] = pair
	}
	if got, want := QualifiedName("team", strings.Repeat("x", MaxNASName-6)), "teamZZ"+strings.Repeat("x", MaxNASName-6); got != want {
		t.Errorf("a name as long as can be becomes %q", got)
	}
	if got := QualifiedName("team-a", "web-1"); got != "team_aZZweb_1" {
		t.Errorf("got %q", got)
	}
}
