package image

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// built is an image: its configuration and its file system.
type built struct {
	User       string
	Entrypoint []string
	Cmd        []string
	root       string
}

// build makes both images. buildah stores all its data in a folder that the test removes.
func build(t *testing.T) (providers, simulator built) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make namespaces, control groups and images: run them as root, with make image")
	}
	stages, root, store := readDockerfile(t), t.TempDir(), t.TempDir()
	compile(t, stages[0], root)
	buildah := "buildah --root " + store + "/images --runroot " + store + "/run --storage-driver vfs "
	return assemble(t, buildah, root, "providers", stages[2]), assemble(t, buildah, root, "truenas-sim", stages[1])
}

// assemble builds one stage from the files of the first, and mounts the image.
func assemble(t *testing.T, buildah, root, name string, s stage) built {
	t.Helper()
	dockerfile := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(dockerfile, []byte(s.text), 0o644); err != nil {
		t.Fatal(err)
	}
	shell(t, root, nil, buildah+"bud --isolation chroot --build-context build="+root+" -f "+dockerfile+" -t "+name+" .")
	var inspected struct {
		OCIv1 struct{ Config built }
	}
	if err := json.Unmarshal([]byte(shell(t, root, nil, buildah+"inspect --type image "+name)), &inspected); err != nil {
		t.Fatal(err)
	}
	image := inspected.OCIv1.Config
	container := strings.TrimSpace(shell(t, root, nil, buildah+"from "+name))
	image.root = strings.TrimSpace(shell(t, root, nil, buildah+"mount "+container))
	t.Cleanup(func() { shell(t, root, nil, buildah+"rm "+container+" && "+buildah+"rmi "+name) })
	return image
}
