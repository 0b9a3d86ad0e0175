package disk

import (
	"context"
	"fmt"
	"io"
	"time"
)

// object is a source whose bytes can be read repeatedly: a file, a web resource, a blob.
type object interface {
	// open starts reading at offset and continues to the end. An error that another attempt may cure wraps
	// ErrUnavailable; offset is then still good. Where ranges are not offered, an offset other than zero is reached by
	// reading up to it.
	open(ctx context.Context, offset int64) (io.ReadCloser, error)
	// info holds once an open has succeeded.
	info() objectInfo
}

// objectInfo is what is known of an object once it is open.
type objectInfo struct {
	size   int64 // bytes, −1 unknown
	ranges bool  // any offset can be had without reading what lies before it

	mediaType string // what the server calls it; empty: nothing
	unmarked  bool   // the transfer just ends, be it whole or broken: no length was announced, and no end is marked
}

// randomAccess reads an object at any offset, one request a read. It is for the few kilobytes at an image's end
// that say something about its beginning.
type randomAccess struct {
	ctx context.Context
	obj object
	max time.Duration // for one read
}

// ReadAt implements [io.ReaderAt] for ranges that lie within the object.
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
