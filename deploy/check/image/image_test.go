package image

import (
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestImage builds the images once for all its tests.
func TestImage(t *testing.T) {
	image, simulator := build(t)
	t.Run("configuration", func(t *testing.T) {
		if image.User != "65532:65532" || !slices.Equal(image.Entrypoint, []string{"/virtrigaud-provider-truenas"}) {
			t.Errorf("%+v", image)
		}
	})
	t.Run("what is in it", func(t *testing.T) {
		testContent(t, image.root, "/bin/sh", "/omni-infra-provider-truenas", "/virtrigaud-provider-truenas")
		testWritable(t, filepath.Join(image.root, "tmp"))
	})
	t.Run("the image of the simulator", func(t *testing.T) { testSimulator(t, simulator) })
	t.Run("the pod that VirtRigaud's manager starts", func(t *testing.T) { testPod(t, image) })
	t.Run("what the manager runs before it stops the pod", func(t *testing.T) { testPreStop(t, image) })
	for _, program := range []string{"/virtrigaud-provider-truenas", "/omni-infra-provider-truenas"} {
		t.Run("the tour of "+program, func(t *testing.T) { testDemo(t, image, program) })
	}
}

// testContent checks that an image contains only static programs and the certificates of public authorities.
func testContent(t *testing.T, root string, programs ...string) {
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := slices.Sorted(slices.Values(append(slices.Clone(programs), "/etc/ssl/certs/ca-certificates.crt"))); !slices.Equal(files, want) {
		t.Errorf("the image holds %v, want %v", files, want)
	}
	for _, program := range programs {
		file, err := elf.Open(filepath.Join(root, program))
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			t.Errorf("%s is not static", program)
		}
		_ = file.Close()
	}
}

// testWritable checks that the user of the image may write to a folder.
func testWritable(t *testing.T, path string) {
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); info.Mode().Perm()&0o700 != 0o700 || owner.Uid != user {
		t.Errorf("%s has mode %v and user %d; want user %d, who may write", path, info.Mode(), owner.Uid, user)
	}
}

// testSimulator starts truenas-sim from its image, as a user without rights on a read-only root.
func testSimulator(t *testing.T, image built) {
	if !slices.Equal(image.Entrypoint, []string{"/truenas-sim"}) || !slices.Equal(image.Cmd, []string{"--listen", "0.0.0.0:4443"}) || image.User != "65532:65532" {
		t.Errorf("the image is %+v", image)
	}
	testContent(t, image.root, "/truenas-sim")
	testWritable(t, filepath.Join(image.root, "state"))
	group, _ := memoryGroup(t)
	version := start(t, cell{Root: image.root, Group: group, Program: []string{"/truenas-sim", "--version"}})
	if err := version.Wait(); err != nil || !strings.HasPrefix(version.output.String(), "truenas-sim 1.2.3, commit 0123abc, ") {
		t.Errorf("--version: %v\n%s", err, version.output.String())
	}
	serving := start(t, cell{Root: image.root, Group: group, Program: []string{"/truenas-sim", "--listen", "127.0.0.1:0", "--release", "26"}})
	serving.says(t, `(?m)^url: https://127\.0\.0\.1:\d+$`)
	if err := serving.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := serving.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, serving.output.String())
	}
}

// testPreStop runs the preStop command of VirtRigaud's manager with a shorter pause, and a command that must be refused.
func testPreStop(t *testing.T, image built) {
	group, _ := memoryGroup(t)
	sleep := start(t, cell{Root: image.root, Group: group, Program: []string{"/bin/sh", "-c", "sleep 0.1"}})
	if err := sleep.Wait(); err != nil {
		t.Errorf("%v\n%s", err, sleep.output.String())
	}
	shell := start(t, cell{Root: image.root, Group: group, Program: []string{"/bin/sh", "-c", "id"}})
	if err := shell.Wait(); shell.ProcessState.ExitCode() != 127 {
		t.Errorf("%v\n%s", err, shell.output.String())
	}
}

// testDemo runs the tour of a program, with its own simulated NAS.
func testDemo(t *testing.T, image built, program string) {
	group, peak := memoryGroup(t)
	demo := start(t, cell{Root: image.root, Group: group, Program: []string{program, "demo", "--simulator-latency=0s"}})
	if err := demo.Wait(); err != nil || !strings.Contains(demo.output.String(), "steps passed") {
		t.Errorf("%v\n%s", err, demo.output.String())
	}
	t.Logf("peak of %d MiB, including the simulated NAS", peak()>>20)
}
