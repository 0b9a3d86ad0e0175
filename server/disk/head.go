package disk

import (
	"bytes"
	"errors"
	"io"
)

// headLimit is the maximum offset of an image's description. A VHDX has its metadata at 2 or 3 MiB; all other formats within the
// first two.
const headLimit = 16 * mib

// head is the beginning of an image, read only as far as a check needs.
type head struct {
	r   io.Reader
	buf []byte
	err error // the error that ended the reading: io.EOF for an image that was read completely
}

// at returns the n bytes at off. An image that ends earlier is damaged; an image with larger offsets is not supported.
func (h *head) at(off int64, n int) ([]byte, error) {
	if off < 0 || off > headLimit || n > headLimit || off+int64(n) > headLimit {
		return nil, refusal(ErrUnsupported, "header refers to %d bytes at %d, beyond the first %d", n, off, headLimit)
	}
	if err := h.fill(int(off) + n); err != nil {
		return nil, err
	}
	if end := int(off) + n; len(h.buf) < end {
		return nil, refusal(ErrCorrupt, "image ends after %d bytes, within its header", len(h.buf))
	}
	return h.buf[off:][:n], nil
}

// upTo returns the first n bytes, or fewer at the end of the image.
func (h *head) upTo(n int) ([]byte, error) {
	if err := h.fill(n); err != nil {
		return nil, err
	}
	return h.buf[:min(n, len(h.buf))], nil
}

// fill reads until n bytes are available. An earlier end of the image is not an error here.
func (h *head) fill(n int) error {
	if missing := n - len(h.buf); missing > 0 && h.err == nil {
		start := len(h.buf)
		h.buf = append(h.buf, make([]byte, missing)...)
		got, err := io.ReadFull(h.r, h.buf[start:])
		h.buf = h.buf[:start+got]
		if err == io.ErrUnexpectedEOF {
			err = io.EOF
		}
		h.err = err
	}
	if h.err != nil && !errors.Is(h.err, io.EOF) && len(h.buf) < n {
		return h.err
	}
	return nil
}

// content returns the image from its first byte on.
func (h *head) content() io.Reader {
	if h.err != nil {
		return io.MultiReader(bytes.NewReader(h.buf), failing{h.err})
	}
	return io.MultiReader(bytes.NewReader(h.buf), h.r)
}

// failing is a reader that returns an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
