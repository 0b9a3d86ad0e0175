package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFiles(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	content := rawDisk(3 * mib)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(root, "disk.raw"), content, 0o600))
	must(os.WriteFile(filepath.Join(outside, "secret.raw"), content, 0o600))
	must(os.Symlink("disk.raw", filepath.Join(root, "inside")))
	must(os.Symlink(filepath.Join(outside, "secret.raw"), filepath.Join(root, "absolute")))
	must(os.Symlink("../"+filepath.Base(outside)+"/secret.raw", filepath.Join(root, "relative")))
	must(os.Symlink(outside, filepath.Join(root, "directory")))
	must(syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	o := newOpener(t, func(o *Options) { o.FileRoots = []string{root} })

	for _, tt := range []struct {
		name, url string
		kind      error // nil: it is readable
	}{
		{"a path", root + "/disk.raw", nil},
		{"a URL", "file://" + root + "/disk.raw", nil},
		{"a URL with a host that is this one", "file://localhost" + root + "/disk.raw", nil},
		{"a link that stays inside", root + "/inside", nil},
		{"a path with dots that stays inside", root + "/x/../disk.raw", nil},
		{"nothing", root + "/missing.raw", ErrNotFound},
		{"a directory", root, ErrInvalid},
		{"a pipe without a writer", root + "/pipe", ErrInvalid},
		{"outside", outside + "/secret.raw", ErrRefused},
		{"outside with dots", root + "/../" + filepath.Base(outside) + "/secret.raw", ErrRefused},
		{"a link to an absolute path", root + "/absolute", ErrRefused},
		{"a link that climbs", root + "/relative", ErrRefused},
		{"a directory that is a link", root + "/directory/secret.raw", ErrRefused},
		{"a directory whose name begins alike", root + "x/disk.raw", ErrRefused},
		{"the system's files", "/etc/passwd", ErrRefused},
		{"a device", "/dev/zero", ErrRefused},
		{"another host's file", "file://example.org/disk.raw", ErrInvalid},
		{"a relative path", "disk.raw", ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, got, err := read(t, o, Source{URL: tt.url})
			if tt.kind != nil {
				want(t, err, tt.kind)
				return
			}
			if err != nil || !bytes.Equal(got, content) || img.VirtualBytes != 3*mib {
				t.Errorf("%d bytes, error %v", len(got), err)
			}
		})
	}
}

func TestNoFilesUnlessAllowed(t *testing.T) {
	_, err := newOpener(t).Open(t.Context(), Source{URL: "/etc/passwd"})
	want(t, err, ErrRefused, "allowed directories (none)")
}

func TestShrinkingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, rawDisk(4*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	o := newOpener(t, func(o *Options) { o.FileRoots = []string{filepath.Dir(path)} })
	img, err := o.Open(t.Context(), Source{URL: path})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if err := os.Truncate(path, mib); err != nil {
		t.Fatal(err)
	}
	_, err = img.WriteTo(&bytes.Buffer{})
	want(t, err, ErrUnavailable, "interrupted at byte 1048576")
}
