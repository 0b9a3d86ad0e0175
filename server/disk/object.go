package disk

import (
	"context"
	"fmt"
	"io"
	"time"
)

// object is a source that can be read repeatedly: a file, a web resource, a blob.
type object interface {
	// open starts to read at offset and continues to the end. An error that a retry may solve wraps ErrUnavailable; offset is then
	// still valid. Without support for ranges, open reads and drops the bytes before offset.
	open(ctx context.Context, offset int64) (io.ReadCloser, error)
	// info is valid after an open has succeeded.
	info() objectInfo
}

// objectInfo holds the properties of an open object.
type objectInfo struct {
	size   int64 // bytes, −1 unknown
	ranges bool  // any offset can be read without the bytes before it

	mediaType string // the media type that the server reports; empty: none
	unmarked  bool   // the end of the transfer shows nothing: the server announces no length, and marks no end
}

// randomAccess reads an object at any offset, one request per read. It is for the few kilobytes at an image's end that determine
// the handling of its beginning.
type randomAccess struct {
	ctx context.Context
	obj object
	max time.Duration // the time limit of one read
}

// ReadAt implements [io.ReaderAt] for ranges within the object.
func (r randomAccess) ReadAt(p []byte, off int64) (int, error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.max)
	defer cancel()
	body, err := r.obj.open(ctx, off)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	if !r.obj.info().ranges {
		return 0, refusal(ErrUnavailable, "server does not offer ranges after all")
	}
	n, err := io.ReadFull(body, p)
	if err != nil {
		return n, fmt.Errorf("%w: reading %d bytes at %d: %w", ErrUnavailable, len(p), off, err)
	}
	return n, nil
}
