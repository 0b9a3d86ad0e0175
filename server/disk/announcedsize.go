package disk

import (
	"bytes"
	"encoding/binary"
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdContent returns the length that a zstd stream's first frame announces, −1 if it announces none. Further frames may follow, so
// it is only a lower bound.
func zstdContent(h *head) (int64, error) {
	start, err := h.upTo(zstd.HeaderMaxSize)
	if err != nil {
		return 0, err
	}
	var header zstd.Header
	if header.Decode(start) != nil || header.Skippable || !header.HasFCS || int64(header.FrameContentSize) < 0 {
		return -1, nil
	}
	return int64(header.FrameContentSize), nil
}

// Layout of an xz file ("The .xz File Format", 1.2.1): streams follow one another, each closed by an index of its
// blocks and a footer with the length of the index; padding of four-byte zeros may lie between them.
const (
	xzHeaderBytes  = 12
	xzFooterBytes  = 12
	xzMaxIndex     = 1 * mib
	xzMaxStreams   = 64
	xzMaxPadding   = 64 * kib
	xzFirstReading = 4 * kib
)

// xzContent returns the unpacked length of an xz file according to its indexes, −1 if they cannot be found within a few reads. The
// decoder verifies an index against its blocks, so a file with a false index fails to unpack.
func xzContent(file io.ReaderAt, size int64) (int64, error) {
	tail := &tailReader{file: file, start: size}
	total := int64(0)
	for range xzMaxStreams {
		unpacked, start, err := xzStream(tail, size)
		if err != nil || unpacked < 0 || unpacked > 1<<62-total {
			return -1, err
		}
		total += unpacked
		if start == 0 {
			return total, nil
		}
		size = start
	}
	return -1, nil
}

// xzStream reads the index of the stream that ends at end. It returns the unpacked length, and the start of the stream.
func xzStream(tail *tailReader, end int64) (unpacked, start int64, err error) {
	for padding := 0; ; padding += 4 {
		word, err := tail.before(end, 4)
		if word == nil || padding > xzMaxPadding {
			return -1, 0, err
		}
		if !allZero(word) {
			break
		}
		end -= 4
	}
	footer, err := tail.before(end, xzFooterBytes)
	if footer == nil || string(footer[10:]) != "YZ" {
		return -1, 0, err
	}
	indexBytes := (int64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	if indexBytes > xzMaxIndex {
		return -1, 0, nil
	}
	index, err := tail.before(end-xzFooterBytes, int(indexBytes))
	if index == nil {
		return -1, 0, err
	}
	packed, unpacked := xzIndex(index)
	start = end - xzFooterBytes - indexBytes - packed - xzHeaderBytes
	if packed < 0 || start < 0 {
		return -1, 0, nil
	}
	return unpacked, start, nil
}

// xzIndex adds up the records of an index: the length of the blocks in the file, and their unpacked length. Both are −1 for invalid
// data.
func xzIndex(index []byte) (packed, unpacked int64) {
	r := bytes.NewReader(index)
	if indicator, err := r.ReadByte(); err != nil || indicator != 0 {
		return -1, -1
	}
	count, err := binary.ReadUvarint(r)
	if err != nil || count > uint64(len(index)) {
		return -1, -1
	}
	for range count {
		block, err1 := binary.ReadUvarint(r)
		content, err2 := binary.ReadUvarint(r)
		if err1 != nil || err2 != nil || block > 1<<56 || content > 1<<56 || packed > 1<<60 || unpacked > 1<<60 {
			return -1, -1
		}
		packed += int64(block+3) / 4 * 4 // the record excludes the padding
		unpacked += int64(content)
	}
	return packed, unpacked
}

// tailReader reads a file from its end backwards, in few reads, and caches the data.
type tailReader struct {
	file  io.ReaderAt
	start int64 // the position of buf in the file
	buf   []byte
}

// before returns the n bytes that end at end, nil if the file has fewer.
func (t *tailReader) before(end int64, n int) ([]byte, error) {
	from := end - int64(n)
	if from < 0 {
		return nil, nil
	}
	if from < t.start || end > t.start+int64(len(t.buf)) {
		start := max(0, min(from, end-xzFirstReading))
		buf := make([]byte, end-start)
		if _, err := t.file.ReadAt(buf, start); err != nil && err != io.EOF {
			return nil, err
		}
		t.start, t.buf = start, buf
	}
	return t.buf[from-t.start:][:n], nil
}
