package xz

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// blockHeader is what precedes a block. Lengths are in bytes, −1 where they are not announced.
type blockHeader struct {
	size            int // of the header; 0 for the beginning of the index
	packed, content int64
	dictionary      int64
}

// Parts of a block header.
const (
	filterLZMA2   = 0x21
	flagFilters   = 0x03 // the number of filters, less one
	flagReserved  = 0x3c
	flagPacked    = 0x40
	flagContent   = 0x80
	maxDictionary = 40
)

// readBlockHeader reads a header with all that is in it.
func readBlockHeader(in *bufio.Reader) (blockHeader, error) {
	first, err := in.ReadByte()
	if err != nil || first == 0 {
		return blockHeader{}, early(err)
	}
	b := make([]byte, (int(first)+1)*4)
	b[0] = first
	if _, err := io.ReadFull(in, b[1:]); err != nil {
		return blockHeader{}, early(err)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return blockHeader{}, corrupt("check of a block header does not fit")
	}
	h := blockHeader{size: len(b), packed: -1, content: -1}
	return h, h.parse(body)
}

// parse reads the fields behind the header's length.
func (h *blockHeader) parse(b []byte) error {
	flags, fields := b[1], bytes.NewReader(b[2:])
	if flags&(flagFilters|flagReserved) != 0 {
		return fmt.Errorf("%w: block flags %#x", ErrUnsupported, flags)
	}
	for _, field := range []struct {
		flag byte
		to   *int64
	}{{flagPacked, &h.packed}, {flagContent, &h.content}} {
		if flags&field.flag == 0 {
			continue
		}
		value, err := readNumber(fields)
		if err != nil {
			return err
		}
		*field.to = int64(value)
	}
	filter, err := readNumber(fields)
	if err != nil {
		return err
	}
	if filter != filterLZMA2 {
		return fmt.Errorf("%w: filter %#x", ErrUnsupported, filter)
	}
	length, err := readNumber(fields)
	if err != nil {
		return err
	}
	code, err := fields.ReadByte()
	if err != nil || length != 1 || code > maxDictionary {
		return corrupt("LZMA2 properties make no sense")
	}
	h.dictionary = dictionaryBytes(code)
	for fields.Len() > 0 {
		if padding, _ := fields.ReadByte(); padding != 0 {
			return corrupt("padding of a block header is not zero")
		}
	}
	return nil
}

// dictionaryBytes is the size that a code stands for: powers of two from 4 KiB on, and one and a half times each.
func dictionaryBytes(code byte) int64 {
	if code == maxDictionary {
		return 1<<32 - 1
	}
	return int64(2+code&1) << (code/2 + 11)
}

// readNumber reads an integer of one to nine bytes with seven bits in each, the lowest first.
func readNumber(in io.ByteReader) (uint64, error) {
	var value uint64
	for shift := uint(0); shift < 63; shift += 7 {
		b, err := in.ReadByte()
		if err != nil {
			return 0, early(err)
		}
		value |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			if b == 0 && shift > 0 {
				break
			}
			return value, nil
		}
	}
	return 0, corrupt("number makes no sense")
}

// readPadding reads the zeros that make up to a multiple of four what has length bytes.
func readPadding(in io.ByteReader, length int64) error {
	for range -length & 3 {
		b, err := in.ReadByte()
		if err != nil {
			return early(err)
		}
		if b != 0 {
			return corrupt("padding is not zero")
		}
	}
	return nil
}

// newRecords is a digest of no index records yet.
func newRecords() hash.Hash { return sha256.New() }

// record adds an index record to a digest: two lists of records are the same if their digests are.
func record(digest hash.Hash, packed, content uint64) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], packed)
	binary.LittleEndian.PutUint64(b[8:], content)
	digest.Write(b[:])
}

// summed passes bytes on, counts them, and computes their CRC-32.
type summed struct {
	in  *bufio.Reader
	n   int64
	crc uint32
}

// ReadByte implements [io.ByteReader].
func (s *summed) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.n++
		s.crc = crc32.Update(s.crc, crc32.IEEETable, []byte{b})
	}
	return b, err
}

// readIndex reads the index, whose first byte has been taken for the length of a block header, and holds it against
// the blocks that were read. It returns its length.
func (z *Reader) readIndex() (int64, error) {
	in := &summed{in: z.in, n: 1, crc: crc32.ChecksumIEEE([]byte{0})}
	count, err := readNumber(in)
	if err != nil {
		return 0, err
	}
	if count != z.blocks {
		return 0, corrupt("index has %d records for %d blocks", count, z.blocks)
	}
	found := newRecords()
	for range count {
		packed, err := readNumber(in)
		if err != nil {
			return 0, err
		}
		content, err := readNumber(in)
		if err != nil {
			return 0, err
		}
		record(found, packed, content)
	}
	if err := readPadding(in, in.n); err != nil {
		return 0, err
	}
	var stored [4]byte
	if _, err := io.ReadFull(z.in, stored[:]); err != nil {
		return 0, early(err)
	}
	if binary.LittleEndian.Uint32(stored[:]) != in.crc || !bytes.Equal(found.Sum(nil), z.expected.Sum(nil)) {
		return 0, corrupt("index does not fit the blocks")
	}
	return in.n + 4, nil
}
