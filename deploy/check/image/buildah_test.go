package image

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// built is the image: what it says about itself, and its file system.
type built struct {
	User       string
	Entrypoint []string
	root       string
}

// build makes the image once. buildah keeps everything in a folder that goes with the test.
func build(t *testing.T) built {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make namespaces, control groups and images: run them as root, with make image")
	}
	stages, root, store := readDockerfile(t), t.TempDir(), t.TempDir()
	compile(t, stages[0], root)
	last := filepath.Join(store, "Dockerfile")
	if err := os.WriteFile(last, []byte(stages[1].text), 0o644); err != nil {
		t.Fatal(err)
	}
	buildah := "buildah --root " + store + "/images --runroot " + store + "/run --storage-driver vfs "
	shell(t, root, nil, buildah+"bud --isolation chroot --build-context build="+root+" -f "+last+" -t provider .")
	var inspected struct {
		OCIv1 struct{ Config built }
	}
	if err := json.Unmarshal([]byte(shell(t, root, nil, buildah+"inspect --type image provider")), &inspected); err != nil {
		t.Fatal(err)
	}
	image := inspected.OCIv1.Config
	container := strings.TrimSpace(shell(t, root, nil, buildah+"from provider"))
	image.root = strings.TrimSpace(shell(t, root, nil, buildah+"mount "+container))
	t.Cleanup(func() { shell(t, root, nil, buildah+"rm "+container+" && "+buildah+"rmi provider") })
	return image
}
