package disk

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// Compression is the compression format of an image.
type Compression string

// The supported compressions.
const (
	Uncompressed Compression = ""
	Gzip         Compression = "gz"
	XZ           Compression = "xz"
	Zstd         Compression = "zst"
	Bzip2        Compression = "bz2"
)

// magics are the first bytes of compressed streams. A zstd stream may begin with a skippable frame, whose magic number has sixteen
// forms.
var magics = []struct {
	magic string
	kind  Compression
}{
	{"\x1f\x8b\x08", Gzip},
	{"\xfd7zXZ\x00", XZ},
	{"\x28\xb5\x2f\xfd", Zstd},
	{"BZh", Bzip2},
}

// sniffCompression detects the compression by the first bytes.
func sniffCompression(h *head) (Compression, error) {
	start, err := h.upTo(8)
	if err != nil {
		return Uncompressed, err
	}
	for _, m := range magics {
		if bytes.HasPrefix(start, []byte(m.magic)) {
			return m.kind, nil
		}
	}
	if len(start) >= 4 && start[0]&0xf0 == 0x50 && bytes.HasPrefix(start[1:], []byte("\x2a\x4d\x18")) {
		return Zstd, nil
	}
	return Uncompressed, nil
}

// newDecoder unpacks r. Only the goroutine that reads the decoder reads r. Of the decoders that share pairing, one may use two
// cores.
func newDecoder(kind Compression, r io.Reader, window int64, pairing *sync.Mutex) (io.ReadCloser, error) {
	switch kind {
	case Gzip:
		return newGzipStream(r)
	case XZ:
		return newXZDecoder(bufio.NewReaderSize(r, 64*kib), window, pairing)
	case Zstd:
		z, err := zstd.NewReader(r,
			zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(uint64(max(window, zstd.MinWindowSize))))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	case Bzip2:
		in := bufio.NewReaderSize(r, 64*kib)
		return io.NopCloser(bzip2Stream{bzip2.NewReader(in), in}), nil
	}
	return io.NopCloser(r), nil
}

// unpacked is a decoder with classified errors: it returns errors of its input unchanged, and its own as damage.
type unpacked struct {
	kind    Compression
	decoder io.ReadCloser
	in      *intake
	window  int64
}

// Read implements [io.Reader].
func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.decoder.Read(p)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, u.sorted(err)
}

// Close releases the decoder's buffers.
func (u *unpacked) Close() error { return u.decoder.Close() }

// sorted gives an error of the decoder its kind.
func (u *unpacked) sorted(err error) error {
	switch {
	case u.kind == Uncompressed:
		return err
	case u.in.err != nil && u.in.err != io.EOF:
		return u.in.err
	case errors.Is(err, xz.ErrMemlimit), errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return refusal(ErrUnsupported, "%s stream needs a window of more than %d bytes, the limit", u.kind, u.window)
	case u.in.err == io.EOF:
		return refusal(ErrCorrupt, "%s stream ends early: %s", u.kind, err)
	}
	return refusal(ErrCorrupt, "%s stream is damaged: %s", u.kind, err)
}

// intake is the compressed side of a decoder. It counts the bytes, and keeps the error that ended it.
type intake struct {
	r   io.Reader
	n   int64 // bytes
	err error
}

// Read implements [io.Reader].
func (i *intake) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	i.n += int64(n)
	i.err = err
	return n, err
}

// expansionGrace is the number of bytes that any stream may expand to, independent of its ratio.
const expansionGrace = 256 * mib

// bounded stops a stream that expands beyond its bounds, before it unpacks more.
type bounded struct {
	r     io.Reader
	in    *intake
	out   int64
	most  int64   // bytes
	ratio float64 // of output to input
}

// Read implements [io.Reader].
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.out += int64(n)
	switch {
	case b.out > b.most:
		return 0, refusal(ErrTooLarge, "image has more than %d bytes, the limit", b.most)
	case b.in != nil && b.out > expansionGrace && float64(b.out) > b.ratio*float64(b.in.n):
		return 0, refusal(ErrTooLarge, "image expands more than %.0f-fold, the limit", b.ratio)
	}
	return n, err
}
