package disk

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
)

// Image is an open image that has passed all checks of its head. It can be read once.
type Image struct {
	// Name is the image's source, without secrets.
	Name string
	// Format is the detected format. A raw image may turn out to be a fixed VHD at its end if the end could not be read
	// ahead.
	Format Format
	// Compression is the detected compression; WriteTo decompresses the image.
	Compression Compression
	// Member is the file of the disk in an archive (tar, zip, OVA) or a container image; empty without an archive.
	Member string
	// DownloadBytes is the length of the published file, −1 if unknown.
	DownloadBytes int64
	// Bytes is the number of bytes that WriteTo will write, −1 if unknown. It is known whenever VirtualBytes is, except for raw
	// images that were not announced as raw and whose end could not be read: they may lose a footer.
	Bytes int64
	// LeastBytes is the minimum number of bytes.
	LeastBytes int64
	// VirtualBytes is the size of the disk, which the volume must have. It is known immediately for formats with a header, for
	// uncompressed images of known length, and for xz from a source with ranges, whose index is read first. For a raw image in gz,
	// bz2 or zst (and xz without ranges) it is −1 until WriteTo has returned, because only the last byte determines it. LeastBytes
	// is the known minimum, which for zst is usually the size. A fixed VHD from a source without ranges counts its footer of 512
	// bytes until then.
	VirtualBytes int64
	// Sum is the checksum of the downloaded bytes in hexadecimal, once WriteTo has succeeded, if the source gave a
	// checksum or its type.
	Sum string
	// SumType is the algorithm of Sum: md5, sha1, sha256 or sha512.
	SumType string

	from      *supply
	cancel    context.CancelFunc
	release   func()                                                          // releases the memory
	spare     func(bytes int64) bool                                          // claims memory if it is free
	claim     func(kind Compression, window int64) (granted int64, err error) // memory for a decoder
	repack    bool                                                            // see [Source.Repack]
	announced Format
	choose    string      // the requested file of an archive; empty: the only disk
	packing   archiveKind // the archive that contains the disk
	inner     int64       // bytes of the disk's file in the archive, −1 unknown
	checksum  checksum
	limit     int64 // the maximum size of the disk, in bytes
	file      int64 // bytes of the unpacked file, −1 if unknown; some of them may not be part of the disk
	shape     shape
	written   bool

	// The stages from the download to the writer.
	meter    *meter
	intake   *intake
	decoders []*unpacked
	makers   []*written
	bounded  *bounded
	head     *head
}

// Suffix returns the required suffix of an uploaded file's name, with its dot.
func (i *Image) Suffix() string { return i.Format.Suffix() }

// Packed reports whether the image differs from the file: it is compressed, in an archive, or converted in transit.
func (i *Image) Packed() bool { return i.Compression != Uncompressed || i.packing != noArchive }

// WriteTo streams the decompressed image to w and returns the number of bytes written. It can be called once. After an
// error, w has received only a part of the image, which the caller must discard.
func (i *Image) WriteTo(w io.Writer) (int64, error) {
	if i.written {
		return 0, fmt.Errorf("image %s: %w", i.Name, refusal(ErrInvalid, "image has been read already"))
	}
	i.written = true
	defer i.releaseMemory()
	out := &withheld{w: w}
	err := i.transfer(out)
	if err == nil {
		err = i.finish(out)
	}
	if err != nil {
		return out.passed, fmt.Errorf("image %s: %w", i.Name, err)
	}
	return out.passed, nil
}

// transfer moves all bytes. Download, decompression and writing each have a goroutine.
func (i *Image) transfer(out *withheld) error {
	if i.Compression != Uncompressed {
		packed := readAhead(i.intake.r, aheadChunks)
		defer packed.Close()
		i.intake.r = packed
	}
	content := readAhead(i.head.content(), aheadChunks)
	defer content.Close()
	_, err := content.WriteTo(out)
	if err != nil {
		i.cancel() // otherwise the goroutines above would continue to wait for the network
		return err
	}
	// A decoder may stop before the end of the file, but the checksum covers the complete file.
	_, err = io.Copy(io.Discard, i.intake.r)
	return err
}

// finish makes the checks that need the complete image, and then releases its last bytes.
func (i *Image) finish(out *withheld) error {
	if i.meter.sum != nil {
		i.Sum = hex.EncodeToString(i.meter.sum.Sum(nil))
		if err := i.checksum.verify(i.Sum); err != nil {
			return err
		}
	}
	length := out.total
	if err := i.shape.checkLeast(length); err != nil {
		return err
	}
	if i.file >= 0 && i.file != length {
		return refusal(ErrLength, "%s index announces %d bytes, but the image has %d", i.Compression, i.file, length)
	}
	if err := i.settle(out.held, length); err != nil {
		return err
	}
	return out.release(int(length - i.Bytes))
}

// settle makes the decisions that need the end of the image, which has length bytes.
func (i *Image) settle(tail []byte, length int64) error {
	var end ending
	if i.shape.end != nil {
		var err error
		if end, err = i.shape.end(tail, length); err != nil {
			return err
		}
	}
	if end.format != "" {
		i.Format = end.format
	}
	i.Bytes = length - int64(end.drop)
	if err := checkSectors(i.Format, i.Bytes); err != nil {
		return err
	}
	if i.Format.plain() {
		i.VirtualBytes = i.Bytes
	}
	return checkVirtual(i.VirtualBytes, i.limit)
}

// Reader returns the image as a stream, for callers that prefer reads. Its last read returns the error of WriteTo. The caller has
// to close it before the image.
func (i *Image) Reader() io.ReadCloser {
	return i.piped(func(w io.Writer) error {
		_, err := i.WriteTo(w)
		return err
	})
}

// piped returns the output of write as a stream.
func (i *Image) piped(write func(io.Writer) error) *reading {
	r, w := io.Pipe()
	read := &reading{PipeReader: r, img: i, done: make(chan struct{})}
	go func() {
		defer close(read.done)
		w.CloseWithError(write(w))
	}()
	return read
}

// reading is the read side of a WriteTo.
type reading struct {
	*io.PipeReader
	img  *Image
	done chan struct{}
}

// Close ends the transfer, and waits for its end.
func (r *reading) Close() error {
	r.img.cancel()
	err := r.PipeReader.Close()
	<-r.done
	return err
}

// Close ends the transfer. Call it after WriteTo has returned, or instead of WriteTo.
func (i *Image) Close() error {
	if i.cancel != nil {
		i.cancel()
	}
	i.releaseMemory()
	return i.from.Close()
}

// releaseMemory releases the memory of an image after its last read, because the conversion on the NAS takes long.
func (i *Image) releaseMemory() {
	for _, maker := range i.makers { // They read from the decoders.
		maker.Close()
	}
	for _, decoder := range i.decoders {
		decoder.Close()
	}
	i.makers, i.decoders = nil, nil
	if i.release != nil {
		i.release()
	}
}

// withheld passes on all bytes except the last ones, until they are released.
type withheld struct {
	w      io.Writer
	held   []byte // at most tailBytes
	total  int64  // bytes received
	passed int64  // bytes passed on
}

// Write implements [io.Writer].
func (t *withheld) Write(p []byte) (int, error) {
	t.total += int64(len(p))
	if excess := len(t.held) + len(p) - tailBytes; excess > 0 {
		old := min(excess, len(t.held))
		if err := t.pass(t.held[:old]); err != nil {
			return 0, err
		}
		t.held = append(t.held[:0], t.held[old:]...)
		if err := t.pass(p[:excess-old]); err != nil {
			return 0, err
		}
		t.held = append(t.held, p[excess-old:]...)
		return len(p), nil
	}
	t.held = append(t.held, p...)
	return len(p), nil
}

// pass writes b to the receiver.
func (t *withheld) pass(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := t.w.Write(b)
	t.passed += int64(n)
	return err
}

// release passes on the held bytes, except for the bytes at the end to drop.
func (t *withheld) release(drop int) error {
	return t.pass(t.held[:len(t.held)-drop])
}
