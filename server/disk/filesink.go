package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Another provider reads staged files, possibly as another user.
const (
	stagedFileMode   = 0o644
	stagedFolderMode = 0o755
)

// fileSink writes a temporary file beside the final one. Its name is constant, so that the next attempt overwrites the file of a
// dead process.
type fileSink struct {
	ctx     context.Context
	root    *os.Root
	file    *os.File
	partial string
	name    string
}

func newFileSink(ctx context.Context, local *localFile) (*fileSink, error) {
	root, err := os.OpenRoot(local.dir)
	if err != nil {
		return nil, fileError(err)
	}
	s := &fileSink{ctx: ctx, root: root, name: local.rel}
	folder, base := filepath.Split(local.rel)
	s.partial = folder + "." + base + ".partial"
	if folder != "" {
		err = root.MkdirAll(filepath.Clean(folder), stagedFolderMode)
	}
	if err == nil {
		s.file, err = root.OpenFile(s.partial, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, stagedFileMode)
	}
	if err != nil {
		root.Close()
		return nil, writeError(err)
	}
	return s, nil
}

// Write implements [io.Writer].
func (s *fileSink) Write(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	n, err := s.file.Write(p)
	if err != nil {
		err = writeError(err)
	}
	return n, err
}

// commit flushes the bytes to the disk before the rename, so that no crash leaves a partial file under the final name.
func (s *fileSink) commit(n int64) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if err := s.file.Sync(); err != nil {
		return writeError(err)
	}
	info, err := s.file.Stat()
	if err == nil && info.Size() != n {
		return refusal(ErrLength, "file has %d bytes, %d were written", info.Size(), n)
	}
	if err == nil {
		err = s.file.Close()
	}
	if err == nil {
		err = s.root.Rename(s.partial, s.name)
	}
	if err != nil {
		return writeError(err)
	}
	return s.root.Close()
}

func (s *fileSink) abort() error {
	s.file.Close() // It may be closed already, and is removed anyway.
	err := s.root.Remove(s.partial)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.root.Close())
}

// writeError classifies the errors of writing to a file system.
func writeError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return fileError(err)
}
