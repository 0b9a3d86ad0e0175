package disk

import (
	"errors"
	"io"
)

// pieceBytes is how a disk is cut for writing it in another format: clusters of a qcow2, grains of a vmdk.
const pieceBytes = 64 * kib

// visitor takes a piece of a disk that is not all zero: number n of pieceBytes each, in ascending order. p is good
// until the next call; the disk's last piece is filled up with zeros.
type visitor func(n int64, p []byte) error

// eachPiece reads a disk of size bytes from an image that the NAS made. A qcow2 is read as a stream, which works
// because qemu-img writes a table before what it finds and goes through a disk from its beginning to its end; one that
// does not is ErrUnordered, and has to be had as raw.
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

// ended is what it means that an image ends before the end of the disk.
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
