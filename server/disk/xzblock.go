package disk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/mikelolasagasti/xz"
)

// Layout of an xz file, as far as needed to separate its blocks ("The .xz File Format", 1.2.1). The library reads and verifies the
// contents of a block.
const (
	xzMagic      = "\xfd7zXZ\x00"
	xzMaxHeader  = 1024    // bytes of a block's header
	xzSizesFlags = 0xc0    // of a block's header: it has both sizes
	xzMaxSize    = 1 << 56 // bytes of a block, of any realistic file
)

// xzCheckBytes are the lengths of a block's checksum, by the kind in the stream's header.
var xzCheckBytes = [16]int64{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}

// xzBlock is a block whose header has its sizes.
type xzBlock struct {
	stream   []byte // the header of its stream
	header   []byte
	unpadded int64 // bytes of the block in the file, as the index counts them
	unpacked int64 // bytes
}

// rest returns the number of bytes after the header of the block: data, padding and checksum.
func (b xzBlock) rest() int64 { return (b.unpadded+3)/4*4 - int64(len(b.header)) }

// file returns an xz file with this block only; body is the data after its header.
func (b xzBlock) file(body io.Reader) io.Reader {
	return io.MultiReader(bytes.NewReader(b.stream), bytes.NewReader(b.header), body, bytes.NewReader(xzClosing(b.stream, 1, b.record(nil))))
}

// record appends the block's record of the index.
func (b xzBlock) record(index []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(index, uint64(b.unpadded)), uint64(b.unpacked))
}

// xzClosing returns the end of a stream: the index with the records of its blocks, and the footer. Its encoding is unique.
func xzClosing(stream []byte, count uint64, records []byte) []byte {
	le := binary.LittleEndian
	index := append(binary.AppendUvarint([]byte{0}, count), records...)
	index = append(index, make([]byte, -len(index)&3)...)
	index = le.AppendUint32(index, crc32.ChecksumIEEE(index))
	sizes := append(le.AppendUint32(nil, uint32(len(index)/4-1)), stream[6:8]...)
	return append(append(le.AppendUint32(index, crc32.ChecksumIEEE(sizes)), sizes...), "YZ"...)
}

// xzBlocks iterates over the blocks of a file.
type xzBlocks struct {
	r       *bufio.Reader
	stream  []byte // the header of the current stream; nil between streams
	count   uint64 // its blocks so far
	records []byte // the records of these blocks
}

// next returns the next block, or, if blocks cannot be separated, a reader of the rest of the file. After the last one it returns
// [io.EOF].
func (x *xzBlocks) next() (block *xzBlock, whole io.Reader, err error) {
	for {
		if x.stream == nil {
			if whole, err = x.begin(); whole != nil || err != nil {
				return nil, whole, err
			}
		}
		if block, err = x.block(); block != nil || err != nil {
			return block, nil, err
		}
		if err := x.end(); err != nil {
			return nil, nil, err
		}
	}
}

// begin reads the header of a stream. The library reads a stream whose first block does not state its sizes.
func (x *xzBlocks) begin() (whole io.Reader, err error) {
	start, err := x.r.Peek(xzHeaderBytes + 2)
	if len(start) == 0 {
		return nil, err
	}
	if len(start) < xzHeaderBytes+2 || string(start[:6]) != xzMagic || start[xzHeaderBytes] == 0 || start[xzHeaderBytes+1]&xzSizesFlags != xzSizesFlags {
		return x.r, nil
	}
	x.stream, x.count, x.records = bytes.Clone(start[:xzHeaderBytes]), 0, x.records[:0]
	_, err = x.r.Discard(xzHeaderBytes)
	return nil, err
}

// block reads the header of a block; nil when the index follows.
func (x *xzBlocks) block() (*xzBlock, error) {
	first, err := x.r.Peek(1)
	if err != nil {
		return nil, unexpectedEOF(err)
	}
	if first[0] == 0 {
		return nil, nil
	}
	header := make([]byte, (int(first[0])+1)*4)
	if _, err := io.ReadFull(x.r, header); err != nil {
		return nil, unexpectedEOF(err)
	}
	sizes := bytes.NewReader(header[2:])
	packed, err1 := binary.ReadUvarint(sizes)
	unpacked, err2 := binary.ReadUvarint(sizes)
	if header[1]&xzSizesFlags != xzSizesFlags || err1 != nil || err2 != nil || packed == 0 || packed > xzMaxSize || unpacked > xzMaxSize {
		return nil, xz.ErrOptions
	}
	b := &xzBlock{stream: x.stream, header: header, unpacked: int64(unpacked)}
	b.unpadded = int64(len(header)) + int64(packed) + xzCheckBytes[x.stream[7]&0x0f]
	x.count, x.records = x.count+1, b.record(x.records)
	if len(x.records) > xzMaxIndex {
		return nil, xz.ErrOptions
	}
	return b, nil
}

// end checks the end of a stream against its blocks, and skips the padding that may follow.
func (x *xzBlocks) end() error {
	want := xzClosing(x.stream, x.count, x.records)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(x.r, got); err != nil {
		return unexpectedEOF(err)
	}
	if !bytes.Equal(got, want) {
		return xz.ErrData
	}
	x.stream = nil
	for {
		word, err := x.r.Peek(4)
		switch {
		case len(word) == 0 && err == io.EOF:
			return nil // begin reports it.
		case len(word) < 4:
			return orDefault(unexpectedEOF(err), xz.ErrData)
		case !allZero(word):
			return nil
		}
		x.r.Discard(4) //nolint:errcheck // They were peeked at.
	}
}

// unexpectedEOF returns the error for a file that ends too early.
func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
