package disk

import (
	"errors"
	"io"
)

// pieceBytes is the unit for writing a disk in another format: clusters of a qcow2, grains of a vmdk.
const pieceBytes = 64 * kib

// visitor receives a piece of a disk that is not all zero: number n of pieceBytes each, in ascending order. p is valid until the
// next call; the disk's last piece is padded with zeros.
type visitor func(n int64, p []byte) error

// eachPiece reads a disk of size bytes from an image that the NAS made. It reads a qcow2 as a stream, which works because qemu-img
// writes a table before its data, and the data in the order of the disk. A file in another order returns ErrUnordered, and has to
// be exported as raw.
func eachPiece(r io.Reader, format Format, size int64, visit visitor) error {
	if format == QCOW2 {
		return newQCOW2Stream(r, size, visit).read()
	}
	p := make([]byte, pieceBytes)
	for n := int64(0); n*pieceBytes < size; n++ {
		want := min(pieceBytes, size-n*pieceBytes)
		if _, err := io.ReadFull(r, p[:want]); err != nil {
			return ended(err)
		}
		clear(p[want:])
		if allZero(p) {
			continue
		}
		if err := visit(n, p); err != nil {
			return err
		}
	}
	return toEnd(r)
}

// ended returns the error for an image that ends before the end of the disk.
func ended(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return refusal(ErrLength, "image ends before the end of the disk")
	}
	return err
}

// toEnd reads the rest, since only the end confirms success.
func toEnd(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
