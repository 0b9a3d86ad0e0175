package disk

import (
	"io"
	"time"

	"github.com/klauspost/compress/zlib"
)

// Packed is an image in the form for an upload to the NAS. A raw disk is sent as a streamOptimized vmdk, in which zeros take no
// space, because a disk image is mostly zeros; so is a fully allocated qcow2, if [Source.Repack] is set. Other formats are sent
// unchanged: a qcow2, vdi, vhdx or vmdk from qemu-img leaves out zeros itself.
type Packed struct {
	io.ReadCloser
	// Suffix is the required suffix of the file's name.
	Suffix string
	// Bytes is the length of the stream, −1 if unknown beforehand.
	Bytes int64
}

// Pack opens the image for an upload that is followed by a conversion. The last read returns the error of WriteTo, or
// [ErrUnordered] for an image that has to be opened again without [Source.Repack]; until then the end of a vmdk is missing, so that
// a receiver never treats a partial image as complete. The caller has to close it before the image.
func (i *Image) Pack() Packed {
	if !i.Format.plain() && !i.repacks() {
		return Packed{ReadCloser: i.Reader(), Suffix: i.Suffix(), Bytes: i.Bytes}
	}
	read := i.piped(func(w io.Writer) error { return i.writeSparse(w) })
	chunks := aheadChunks
	if i.spare != nil && i.spare((packedChunks-aheadChunks)*aheadBytes) {
		chunks = packedChunks
	}
	return Packed{ReadCloser: &buffered{ahead: readAhead(read, chunks), under: read}, Suffix: VMDK.Suffix(), Bytes: -1}
}

// writeSparse writes the disk as a vmdk. The length of a raw disk may be known only at its end; readers of the format take it from
// the footer.
func (i *Image) writeSparse(w io.Writer) error {
	size := i.VirtualBytes
	if i.Format.plain() {
		size = max(size, i.LeastBytes, pieceBytes) // A lower bound; see finish.
	}
	v := &vmdkWriter{w: w, sectors: sectorsOf(size)}
	pack := &sparseWriter{vmdk: v, last: time.Now()}
	if err := v.open(zlib.BestSpeed); err != nil {
		return err
	}
	if i.Format == QCOW2 {
		if err := i.eachCluster(pack.at); err != nil {
			return err
		}
		pack.n = v.sectors / vmdkGrainSectors
		return pack.finish()
	}
	if _, err := i.WriteTo(pack); err != nil {
		return err
	}
	return pack.finish()
}

// sectorsOf returns the length of a disk in sectors, rounded up to grains.
func sectorsOf(size int64) int64 { return (size + pieceBytes - 1) / pieceBytes * vmdkGrainSectors }

// sparseWriter cuts a raw disk into grains and leaves out grains of zeros.
type sparseWriter struct {
	vmdk  *vmdkWriter
	piece [pieceBytes]byte
	held  int   // bytes of piece
	n     int64 // number of piece
	last  time.Time
}

// keepAlive is the maximum time of zeros without a sent byte. The web server in front of TrueNAS ends an upload after a minute of
// silence, and a large disk may have only zeros for longer.
const keepAlive = 5 * time.Second

// Write implements [io.Writer].
func (s *sparseWriter) Write(p []byte) (int, error) {
	written := len(p)
	for len(p) > 0 {
		if s.held == 0 && len(p) >= pieceBytes { // Complete pieces need no copy.
			if err := s.put(p[:pieceBytes]); err != nil {
				return 0, err
			}
			p = p[pieceBytes:]
			continue
		}
		n := copy(s.piece[s.held:], p)
		s.held, p = s.held+n, p[n:]
		if s.held < pieceBytes {
			continue
		}
		s.held = 0
		if err := s.put(s.piece[:]); err != nil {
			return 0, err
		}
	}
	return written, nil
}

// put writes the next piece.
func (s *sparseWriter) put(p []byte) error {
	s.n++
	return s.at(s.n-1, p)
}

// at writes piece number n. Numbers ascend.
func (s *sparseWriter) at(n int64, p []byte) error {
	if allZero(p) && time.Since(s.last) < keepAlive {
		return nil
	}
	s.last = time.Now()
	return s.vmdk.grain(n, p)
}

// finish writes the last piece and the end of the vmdk.
func (s *sparseWriter) finish() error {
	if s.held > 0 {
		clear(s.piece[s.held:])
		if err := s.put(s.piece[:]); err != nil {
			return err
		}
	}
	s.vmdk.sectors = s.n * vmdkGrainSectors
	return s.vmdk.end()
}

// buffered reads ahead of the network, so that packing and sending run at the same time.
type buffered struct {
	*ahead
	under io.Closer
}

// Close ends the transfer, and waits for its end.
func (b *buffered) Close() error {
	err := b.under.Close() // The goroutine that reads ahead may wait for it.
	_ = b.ahead.Close()    // It never fails.
	return err
}
