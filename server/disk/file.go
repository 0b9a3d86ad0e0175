package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// fileObject is a regular file below one of the allowed roots.
type fileObject struct {
	file *os.File
	size int64
}

// openFile opens a file within its directory, also after links.
func openFile(local *localFile) (*fileObject, error) {
	root, err := os.OpenRoot(local.dir)
	if err != nil {
		return nil, fileError(err)
	}
	defer root.Close()
	// Without O_NONBLOCK a named pipe would block the caller until a writer opens it.
	file, err := root.OpenFile(local.rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileError(err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = refusal(ErrInvalid, "path is a %s, allowed are regular files", info.Mode().Type())
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &fileObject{file: file, size: info.Size()}, nil
}

// rootOf splits a path into its root and the rest. Of nested roots the innermost counts.
func (o *Opener) rootOf(path string) (dir, rel string, err error) {
	clean := filepath.Clean(path)
	for _, root := range o.opts.FileRoots {
		inside, err := filepath.Rel(root, clean)
		if err == nil && filepath.IsLocal(inside) && len(root) > len(dir) {
			dir, rel = root, inside
		}
	}
	if dir == "" {
		allowed := "none"
		if len(o.opts.FileRoots) > 0 {
			allowed = strings.Join(o.opts.FileRoots, ", ")
		}
		return "", "", refusal(ErrRefused, "path lies outside the allowed directories (%s)", allowed)
	}
	return dir, rel, nil
}

// fileError classifies errors of the file system. It recognizes a link that leads out of its root only by the text, because package
// os exports no value for it.
func fileError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case strings.Contains(err.Error(), "path escapes from parent"):
		return refusal(ErrRefused, "path leads out of the allowed directories")
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (f *fileObject) info() objectInfo { return objectInfo{size: f.size, ranges: true} }

// open implements [object]. Each reading has its own position; the file itself is closed with the image.
func (f *fileObject) open(_ context.Context, offset int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(f.file, offset, f.size-offset)), nil
}

// Close closes the file.
func (f *fileObject) Close() error { return f.file.Close() }
