package xz

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

// What can be wrong with a file.
var (
	// ErrCorrupt: the file is damaged, or ends early (it then wraps io.ErrUnexpectedEOF as well).
	ErrCorrupt = errors.New("xz: damaged")
	// ErrMemory: a block needs a larger dictionary than is allowed.
	ErrMemory = errors.New("xz: dictionary too large")
	// ErrUnsupported: a block uses filters other than LZMA2, or the stream an unknown check.
	ErrUnsupported = errors.New("xz: unsupported filter or check")
)

// corrupt says what is wrong.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// early makes of the end of the input, where there has to be more, the error that it is.
func early(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: %w", ErrCorrupt, io.ErrUnexpectedEOF)
	}
	return err
}

// Checks that a stream may have over the content of its blocks, by their number.
const (
	checkNone   = 0
	checkCRC32  = 1
	checkCRC64  = 4
	checkSHA256 = 10
)

const (
	magic       = "\xfd7zXZ\x00"
	footerMagic = "YZ"
)

// Reader unpacks a file, all its streams one after another.
type Reader struct {
	in      *bufio.Reader
	maxDict int64
	block   lzma2
	rest    []byte // of the last chunk
	err     error

	check    hash.Hash // of the current block; nil for none
	flags    [2]byte   // of the current stream
	header   blockHeader
	content  int64 // bytes of the current block, unpacked
	blocks   uint64
	expected hash.Hash // over the records that the index should have
}

// NewReader unpacks r with a dictionary of at most maxDict bytes.
func NewReader(r io.Reader, maxDict int64) (*Reader, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	z := &Reader{in: in, maxDict: maxDict}
	z.block.in = in
	return z, z.startStream()
}

// Handles reports whether a file that begins with start, a kilobyte or so of it, is one for this package, going by
// the header of its first block.
func Handles(start []byte) bool {
	z := &Reader{in: bufio.NewReader(bytes.NewReader(start)), maxDict: 1 << 40}
	err := z.startStream()
	return err == nil || !errors.Is(err, ErrUnsupported)
}

// Read implements [io.Reader].
func (z *Reader) Read(p []byte) (n int, err error) {
	for n < len(p) && z.err == nil {
		if len(z.rest) == 0 {
			z.err = z.next()
			continue
		}
		m := copy(p[n:], z.rest)
		z.rest = z.rest[m:]
		n += m
	}
	if n > 0 {
		return n, nil
	}
	return 0, z.err
}

// next decodes a chunk, and whatever lies between it and the one before.
func (z *Reader) next() error {
	if z.header.size == 0 {
		return z.endStream()
	}
	chunk, err := z.block.chunk()
	if err == io.EOF {
		if err := z.endBlock(); err != nil {
			return err
		}
		return z.startBlock()
	}
	if err != nil {
		return err
	}
	if z.check != nil {
		z.check.Write(chunk)
	}
	z.content += int64(len(chunk))
	z.rest = chunk
	return nil
}

// startStream reads a stream's header, and that of its first block.
func (z *Reader) startStream() error {
	var b [12]byte
	if _, err := io.ReadFull(z.in, b[:]); err != nil {
		return early(err)
	}
	if string(b[:6]) != magic || crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) {
		return corrupt("no stream header")
	}
	z.flags = [2]byte(b[6:8])
	if z.flags[0] != 0 {
		return fmt.Errorf("%w: stream flags %#x", ErrUnsupported, z.flags)
	}
	switch z.flags[1] {
	case checkNone:
		z.check = nil
	case checkCRC32:
		z.check = crc32.NewIEEE()
	case checkCRC64:
		z.check = crc64.New(crc64.MakeTable(crc64.ECMA))
	case checkSHA256:
		z.check = sha256.New()
	default:
		return fmt.Errorf("%w: check %d", ErrUnsupported, z.flags[1])
	}
	z.blocks, z.expected = 0, newRecords()
	return z.startBlock()
}

// startBlock reads the header of the next block, or finds that there is none.
func (z *Reader) startBlock() error {
	header, err := readBlockHeader(z.in)
	z.header = header
	if err != nil || header.size == 0 {
		return err
	}
	if header.dictionary > z.maxDict {
		return fmt.Errorf("%w: %d bytes, allowed are %d", ErrMemory, header.dictionary, z.maxDict)
	}
	if z.check != nil {
		z.check.Reset()
	}
	z.content = 0
	z.block.startBlock(int(header.dictionary))
	return nil
}

// endBlock reads a block's padding and check, and holds what came against what was announced.
func (z *Reader) endBlock() error {
	packed := z.block.n
	if z.header.packed >= 0 && z.header.packed != packed || z.header.content >= 0 && z.header.content != z.content {
		return corrupt("block header announces other lengths")
	}
	if err := readPadding(z.in, packed); err != nil {
		return err
	}
	size := 0
	if z.check != nil {
		size = z.check.Size()
		stored := make([]byte, size)
		if _, err := io.ReadFull(z.in, stored); err != nil {
			return early(err)
		}
		if !bytes.Equal(stored, checkValue(z.check)) {
			return corrupt("check of a block does not fit")
		}
	}
	z.blocks++
	record(z.expected, uint64(z.header.size)+uint64(packed)+uint64(size), uint64(z.content))
	return nil
}

// checkValue is a check as it is stored: CRCs are little-endian.
func checkValue(check hash.Hash) []byte {
	switch c := check.(type) {
	case hash.Hash32:
		return binary.LittleEndian.AppendUint32(nil, c.Sum32())
	case hash.Hash64:
		return binary.LittleEndian.AppendUint64(nil, c.Sum64())
	}
	return check.Sum(nil)
}

// endStream reads what follows the last block: index and footer, and maybe padding and another stream.
func (z *Reader) endStream() error {
	length, err := z.readIndex()
	if err != nil {
		return err
	}
	var footer [12]byte
	if _, err := io.ReadFull(z.in, footer[:]); err != nil {
		return early(err)
	}
	back := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	sum := crc32.ChecksumIEEE(footer[4:10])
	if sum != binary.LittleEndian.Uint32(footer[:]) || string(footer[10:]) != footerMagic ||
		[2]byte(footer[8:10]) != z.flags || back != length {
		return corrupt("stream footer does not fit")
	}
	for {
		word, err := z.in.Peek(4)
		switch {
		case len(word) == 0 && err == io.EOF:
			return io.EOF
		case err != nil:
			return early(err)
		case !bytes.Equal(word, make([]byte, 4)):
			return z.startStream()
		}
		if _, err := z.in.Discard(4); err != nil {
			return err
		}
	}
}
