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

// TestImage builds the image once and tries everything with it.
func TestImage(t *testing.T) {
	image := build(t)
	t.Run("configuration", func(t *testing.T) {
		if image.User != "65532:65532" || !slices.Equal(image.Entrypoint, []string{"/virtrigaud-provider-truenas"}) {
			t.Errorf("%+v", image)
		}
	})
	t.Run("what is in it", func(t *testing.T) { testContent(t, image.root) })
	t.Run("the pod that VirtRigaud's manager starts", func(t *testing.T) { testPod(t, image) })
	t.Run("what the manager runs before it stops the pod", func(t *testing.T) { testPreStop(t, image) })
	for _, program := range []string{"/virtrigaud-provider-truenas", "/omni-infra-provider-truenas"} {
		t.Run("the tour of "+program, func(t *testing.T) { testDemo(t, image, program) })
	}
}

func testContent(t *testing.T, root string) {
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
	programs := []string{"/bin/sh", "/omni-infra-provider-truenas", "/virtrigaud-provider-truenas"}
	if want := slices.Concat(programs[:1], []string{"/etc/ssl/certs/ca-certificates.crt"}, programs[1:]); !slices.Equal(files, want) {
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
	tmp, err := os.Stat(filepath.Join(root, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	if owner := tmp.Sys().(*syscall.Stat_t); tmp.Mode().Perm()&0o700 != 0o700 || owner.Uid != user {
		t.Errorf("/tmp is %v of %d", tmp.Mode(), owner.Uid)
	}
}

// testPreStop: the command of VirtRigaud's manager, with a shorter pause, and one that must be refused.
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

// testDemo: the whole tour of a program, with its own simulated NAS.
func testDemo(t *testing.T, image built, program string) {
	group, peak := memoryGroup(t)
	demo := start(t, cell{Root: image.root, Group: group, Program: []string{program, "demo", "--simulator-latency=0s"}})
	if err := demo.Wait(); err != nil || !strings.Contains(demo.output.String(), "steps passed") {
		t.Errorf("%v\n%s", err, demo.output.String())
	}
	t.Logf("%d MiB at most, the simulated NAS included", peak()>>20)
}
