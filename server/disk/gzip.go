package disk

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// maxTrailing limits the foreign bytes after a gzip stream: OpenWrt appends a description of the image with some hundred bytes. Zeros
// before them, as in the block of a tape, do not count.
const maxTrailing = 1 * mib

// gzipStream unpacks the members of a gzip file one after the other. Like the gzip program it ends if foreign data follows the only
// member. After several members it does not: the foreign data is more likely a damaged member.
type gzipStream struct {
	in      *bufio.Reader
	member  *gzip.Reader
	members int
}

func newGzipStream(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 64*kib)
	member, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	return &gzipStream{in: in, member: member, members: 1}, nil
}

// Read implements [io.Reader].
func (g *gzipStream) Read(p []byte) (int, error) {
	n, err := g.member.Read(p)
	if err != io.EOF {
		return n, err
	}
	return n, g.next()
}

// next advances to the next member; it returns [io.EOF] when there is none.
func (g *gzipStream) next() error {
	start, err := g.in.Peek(3)
	switch {
	case len(start) == 0 && err != io.EOF:
		return err
	case string(start) != "\x1f\x8b\x08":
		return skipTrailing(g.in, g.members == 1)
	}
	if err := g.member.Reset(g.in); err != nil {
		return err
	}
	g.member.Multistream(false)
	g.members++
	return nil
}

// Close implements [io.Closer].
func (g *gzipStream) Close() error { return g.member.Close() }

var errTrailing = errors.New("trailing data")

// skipTrailing reads the data after a compressed stream, and returns [io.EOF] if it may be ignored: zeros, and after them, if
// permitted, a few bytes of other data.
func skipTrailing(r io.Reader, other bool) error {
	buf := make([]byte, 32*kib)
	behind := 0
	for {
		n, err := r.Read(buf)
		if behind > 0 || !allZero(buf[:n]) {
			behind += n
		}
		switch {
		case behind > maxTrailing || behind > 0 && !other:
			return errTrailing
		case err != nil:
			return err
		}
	}
}

// bzip2Stream is a bzip2 stream with optional zeros after it.
type bzip2Stream struct {
	unpacked io.Reader
	in       *bufio.Reader
}

// Read implements [io.Reader].
func (b bzip2Stream) Read(p []byte) (int, error) {
	n, err := b.unpacked.Read(p)
	if err != nil && err.Error() == bzip2Trailing {
		return n, skipTrailing(b.in, true)
	}
	return n, err
}

// bzip2Trailing is the error of compress/bzip2 for a stream that has ended without a further one.
const bzip2Trailing = "bzip2 data invalid: bad magic value in continuation file"
