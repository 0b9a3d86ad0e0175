package check

import (
	"os"
	"regexp"
	"strings"
	"testing"

	virtrigaud "github.com/projectbeskar/virtrigaud/api/infra.virtrigaud.io/v1beta1"
)

// VirtRigaud 0.4 restricts the paths of a VMImage. Its types are not published, so this file has its rules.
const maxPath04 = 4096

var url04 = regexp.MustCompile(`^(https?|ftp)://.*`)

// path04 returns why 0.4 refuses a path, or "". A path is absolute, and none of its segments is "..", begins with a hyphen or
// contains control characters. It does not end in a slash.
func path04(path string) string {
	switch {
	case len(path) > maxPath04:
		return "is too long"
	case !strings.HasPrefix(path, "/"):
		return "is not absolute"
	case strings.HasSuffix(path, "/"):
		return "ends in a slash"
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == ".." || strings.HasPrefix(segment, "-") || strings.ContainsFunc(segment, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return "has a segment that is not allowed"
		}
	}
	return ""
}

func TestPathsOfLine04(t *testing.T) {
	for path, allowed := range map[string]bool{
		"tank/golden/x@v1": false, "oci://h/x:1": false, "s3://b/k": false, "/a/../b": false, "/-a": false, "/a/": false,
		"/dev/zvol/tank/golden/x@v1": true, "/mnt/tank/x.qcow2": true, "/oci://h/x:1": true, "/oci/h/x:1": true, "/s3://b/k": true,
	} {
		if got := path04(path); (got == "") != allowed {
			t.Errorf("%s: %q, want allowed=%t", path, got, allowed)
		}
	}
}

// The examples fit both lines. [TestManifests] and similar tests decode them with the types of line 0.3.
func TestExamplesFitLine04(t *testing.T) {
	const file = "../examples/vmimage.yaml"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, file, content)
	fit(t, file, objects)
	images := 0
	for _, o := range objects {
		image, ok := o.typed.(*virtrigaud.VMImage)
		if !ok || image.Spec.Source.Libvirt == nil {
			continue
		}
		images++
		source := image.Spec.Source.Libvirt
		if source.Path != "" && path04(source.Path) != "" {
			t.Errorf("%s: the path %s", source.Path, path04(source.Path))
		}
		if source.URL != "" && !url04.MatchString(source.URL) {
			t.Errorf("%s is a URL that 0.4 refuses", source.URL)
		}
		if source.URL != "" && source.Path != "" {
			t.Errorf("%s has both a URL and a path, and 0.4 imports neither", image.Name)
		}
	}
	if images < 3 {
		t.Errorf("%d images were checked", images)
	}
}
