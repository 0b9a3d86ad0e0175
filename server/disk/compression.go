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

// Compression is what an image is wrapped in.
type Compression string

// The compressions that are handled.
const (
	Uncompressed Compression = ""
	Gzip         Compression = "gz"
	XZ           Compression = "xz"
	Zstd         Compression = "zst"
	Bzip2        Compression = "bz2"
)

// magics are what compressed streams begin with. A zstd stream may begin with a skippable frame, whose magic number
// has sixteen forms.
var magics = []struct {
	magic string
	kind  Compression
}{
	{"\x1f\x8b\x08", Gzip},
	{"\xfd7zXZ\x00", XZ},
	{"\x28\xb5\x2f\xfd", Zstd},
	{"BZh", Bzip2},
}

// sniffCompression decides by the first bytes.
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

// newDecoder unpacks r. Of the xz decoders that share pairing, one may use two cores.
func newDecoder(kind Compression, r io.Reader, window int64, pairing *sync.Mutex) (io.ReadCloser, error) {
	switch kind {
	case Gzip:
		return newGzipStream(r)
	case XZ:
		return newXZDecoder(bufio.NewReaderSize(r, 64*kib), window, pairing)
	case Zstd:
		z, err := zstd.NewReader(r,
			zstd.WithDecoderConcurrency(zstdCores()),
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

// unpacked is a decoder whose errors are sorted: those of its input are passed on, its own are damage.
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
	_, ended := u.in.state()
	switch {
	case u.kind == Uncompressed:
		return err
	case ended != nil && ended != io.EOF:
		return ended
	case errors.Is(err, xz.ErrMemlimit), errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return refusal(ErrUnsupported, "%s stream needs a window of more than %d bytes, the limit", u.kind, u.window)
	case ended == io.EOF:
		return refusal(ErrCorrupt, "%s stream ends early: %s", u.kind, err)
	}
	return refusal(ErrCorrupt, "%s stream is damaged: %s", u.kind, err)
}

// zstdCores is how many cores a zstd decoder may use. With more than one it reads its source from goroutines of its own, beside
// the reader of an archive or a layer that goes on with the same source.
func zstdCores() int { return 1 }

// intake is the compressed side of a decoder. It counts the bytes, and keeps the error that ended them. A decoder may read it
// from another goroutine.
type intake struct {
	reading sync.Mutex // held while r is read or replaced
	r       io.Reader

	mu  sync.Mutex // guards the rest
	n   int64      // bytes
	err error
}

// Read implements [io.Reader].
func (i *intake) Read(p []byte) (int, error) {
	i.reading.Lock()
	defer i.reading.Unlock()
	n, err := i.r.Read(p)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.n += int64(n)
	i.err = err
	return n, err
}

// state returns how many bytes were read, and the last error.
func (i *intake) state() (bytes int64, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.n, i.err
}

// readAhead puts a reader that reads ahead in front of the source. It has to be closed.
func (i *intake) readAhead() *ahead {
	i.reading.Lock()
	defer i.reading.Unlock()
	a := readAhead(i.r)
	i.r = a
	return a
}

// drain reads what the decoder, which has been closed, left.
func (i *intake) drain() error {
	_, err := io.Copy(io.Discard, i.r)
	return err
}

// expansionGrace is how many bytes any stream may expand to, whatever its ratio.
const expansionGrace = 256 * mib

// bounded stops a stream that expands beyond bounds, before more of it is unpacked.
type bounded struct {
	r     io.Reader
	in    *intake
	out   int64
	most  int64   // bytes
	ratio float64 // of out to in
}

// Read implements [io.Reader].
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.out += int64(n)
	switch {
	case b.out > b.most:
		return 0, refusal(ErrTooLarge, "image has more than %d bytes, the limit", b.most)
	case b.expands():
		return 0, refusal(ErrTooLarge, "image expands more than %.0f-fold, the limit", b.ratio)
	}
	return n, err
}

// expands reports whether the stream exceeds the ratio.
func (b *bounded) expands() bool {
	if b.in == nil || b.out <= expansionGrace {
		return false
	}
	in, _ := b.in.state()
	return float64(b.out) > b.ratio*float64(in)
}
