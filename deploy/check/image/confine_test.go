package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// user is the user that VirtRigaud's manager sets for a provider.
const user = 65532

// A cell is the environment of a program in a container.
type cell struct {
	Root    string            // becomes read-only
	Mounts  map[string]string // folders of this host by their path in the cell, read-only
	Group   string            // the memory control group
	Program []string
	Env     []string
}

// TestMain also runs between the start of a confined process and the program: it drops everything that a container does not have,
// and executes the program.
func TestMain(m *testing.M) {
	if text := os.Getenv("CELL"); text != "" {
		var c cell
		err := json.Unmarshal([]byte(text), &c)
		if err == nil {
			err = c.enter()
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	os.Exit(m.Run())
}

// enter does not return on success.
func (c cell) enter() error {
	runtime.LockOSThread()
	if err := os.WriteFile(filepath.Join(c.Group, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	if err := c.mount(); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(c.Root), unix.Chdir("/")); err != nil {
		return err
	}
	for capability := uintptr(0); ; capability++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); errors.Is(err, unix.EINVAL) {
			break
		} else if err != nil {
			return err
		}
	}
	if err := errors.Join(unix.Setgroups(nil), unix.Setresgid(user, user, user), unix.Setresuid(user, user, user), unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", c.Program[0], unix.Exec(c.Program[0], c.Program, c.Env))
}

// mount makes the root read-only, and mounts an own /tmp, like an emptyDir, and the Secrets.
func (c cell) mount() error {
	bind := func(from, to string, flags uintptr) error {
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
		return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|flags, "")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for to := range c.Mounts {
		if err := os.MkdirAll(filepath.Join(c.Root, to), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"proc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(c.Root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := bind(c.Root, c.Root, unix.MS_NOSUID); err != nil {
		return err
	}
	for to, from := range c.Mounts {
		if err := bind(from, filepath.Join(c.Root, to), unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
			return err
		}
	}
	return errors.Join(
		unix.Mount("proc", filepath.Join(c.Root, "proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		unix.Mount("tmpfs", filepath.Join(c.Root, "tmp"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=64m"),
	)
}
