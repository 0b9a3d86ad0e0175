package disk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"path"
	"strings"

	"github.com/klauspost/compress/flate"
)

// Layout of a zip archive (APPNOTE.TXT 6.3.10), as far as needed to read it from its beginning: a header, the data and an optional
// descriptor for each file, and after the last one the central directory. Numbers are little-endian.
const (
	zipLocalHeader = "PK\x03\x04"
	zipDescriptor  = "PK\x07\x08"
	zipHeaderBytes = 30
	zipEncrypted   = 1 << 0
	zipDescribed   = 1 << 3 // checksum and sizes follow the data
	zipStored      = 0
	zipDeflated    = 8
	zipDeflate64   = 9
	zip64Extra     = 1
)

// zipMembers iterates over a zip archive without its central directory, which is at its end.
type zipMembers struct {
	in      *bufio.Reader
	current *zipMember
}

// next implements [members].
func (z *zipMembers) next() (member, error) {
	for {
		if z.current != nil {
			if _, err := io.Copy(io.Discard, z.current); err != nil {
				return member{}, err
			}
			z.current = nil
		}
		magic, err := z.in.Peek(4)
		if err != nil {
			return member{}, zipEnded(err)
		}
		if string(magic) != zipLocalHeader {
			return member{}, z.directory(string(magic))
		}
		name, err := z.open()
		if err != nil {
			return member{}, err
		}
		if strings.HasSuffix(name, "/") {
			continue
		}
		return member{z.current, strings.TrimPrefix(path.Clean("/"+name), "/"), z.current.size}, nil
	}
}

// directory reads the data after the last file.
func (z *zipMembers) directory(magic string) error {
	if magic != "PK\x01\x02" && magic != "PK\x05\x06" && magic != "PK\x06\x08" {
		return refusal(ErrCorrupt, "zip archive has data between its files")
	}
	if _, err := io.Copy(io.Discard, z.in); err != nil {
		return err
	}
	return io.EOF
}

// open reads the header of a file.
func (z *zipMembers) open() (name string, err error) {
	header := make([]byte, zipHeaderBytes)
	if _, err := io.ReadFull(z.in, header); err != nil {
		return "", zipEnded(err)
	}
	le := binary.LittleEndian
	text := make([]byte, int(le.Uint16(header[26:]))+int(le.Uint16(header[28:])))
	if _, err := io.ReadFull(z.in, text); err != nil {
		return "", zipEnded(err)
	}
	name, extra := string(text[:le.Uint16(header[26:])]), text[le.Uint16(header[26:]):]
	flags, method := le.Uint16(header[6:]), le.Uint16(header[8:])
	m := &zipMember{in: z.in, sum: le.Uint32(header[14:]), described: flags&zipDescribed != 0, size: -1}
	packed, unpacked := zipSizes(header, extra)
	if !m.described {
		m.size = unpacked
	}
	switch {
	case flags&zipEncrypted != 0:
		return "", refusal(ErrUnsupported, "zip archive is encrypted")
	case packed < 0 || unpacked < 0:
		return "", refusal(ErrCorrupt, "zip archive has a file of %d bytes", uint64(unpacked))
	case method == zipDeflated:
		m.data = flate.NewReader(z.in)
	case method == zipStored && !m.described:
		m.data = io.LimitReader(z.in, packed)
	case method == zipStored:
		return "", refusal(ErrUnsupported, "zip archive was written as a stream, without compression: pack it again")
	case method == zipDeflate64:
		return "", refusal(ErrUnsupported, "zip archive uses Deflate64: pack it again, such as with zip or 7z -mm=Deflate")
	default:
		return "", refusal(ErrUnsupported, "zip archive uses compression method %d, allowed are none and Deflate", method)
	}
	z.current = m
	return name, nil
}

// zipEnded returns the error for an archive that was cut short.
func zipEnded(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return refusal(ErrCorrupt, "zip archive ends before its directory")
	}
	return err
}

// zipSizes returns the lengths of a file in the archive and unpacked; those beyond 4 GiB are in an extra field.
func zipSizes(header, extra []byte) (packed, unpacked int64) {
	le := binary.LittleEndian
	packed, unpacked = int64(le.Uint32(header[18:])), int64(le.Uint32(header[22:]))
	for len(extra) >= 4 {
		id, length := le.Uint16(extra), int(le.Uint16(extra[2:]))
		field := extra[4:]
		if length > len(field) {
			break
		}
		extra, field = field[length:], field[:length]
		if id != zip64Extra {
			continue
		}
		for _, size := range []*int64{&unpacked, &packed} {
			if *size == math.MaxUint32 && len(field) >= 8 {
				*size, field = int64(le.Uint64(field)), field[8:]
			}
		}
	}
	return packed, unpacked
}

// zipMember is a file in a zip archive, verified at its end.
type zipMember struct {
	in        *bufio.Reader
	data      io.Reader
	size      int64 // bytes, −1 unknown
	described bool
	sum       uint32 // the announced checksum

	n     int64
	found uint32 // the checksum of the data that was read
	err   error
}

// Read implements [io.Reader].
func (z *zipMember) Read(p []byte) (int, error) {
	if z.err != nil {
		return 0, z.err
	}
	n, err := z.data.Read(p)
	z.n += int64(n)
	z.found = crc32.Update(z.found, crc32.IEEETable, p[:n])
	if err == io.EOF {
		err = z.verify()
	} else if _, damaged := errors.AsType[flate.CorruptInputError](err); damaged || errors.Is(err, io.ErrUnexpectedEOF) {
		err = refusal(ErrCorrupt, "zip archive is damaged: %s", err)
	}
	z.err = err
	return n, err
}

// verify compares the data with the announced sizes and checksum. It returns [io.EOF] when they agree.
func (z *zipMember) verify() error {
	if z.described {
		if err := z.describe(); err != nil {
			return err
		}
	}
	switch {
	case z.size >= 0 && z.n != z.size:
		return refusal(ErrCorrupt, "zip archive ends after %d of %d bytes of a file", z.n, z.size)
	case z.found != z.sum:
		return refusal(ErrCorrupt, "zip archive has a file with the checksum %#x, announced was %#x", z.found, z.sum)
	}
	return io.EOF
}

// describe reads the descriptor after the data: an optional signature, the checksum, and the sizes with four or eight bytes each.
// The unpacked length determines the width.
func (z *zipMember) describe() error {
	magic, err := z.in.Peek(4)
	if err != nil {
		return zipEnded(err)
	}
	if string(magic) == zipDescriptor {
		_, _ = z.in.Discard(4) // Peek has returned these bytes.
	}
	described, err := z.in.Peek(12)
	if err != nil {
		return zipEnded(err)
	}
	le := binary.LittleEndian
	z.sum = le.Uint32(described)
	length := 12
	if int64(le.Uint32(described[8:])) != z.n&math.MaxUint32 || z.n > math.MaxUint32 {
		if described, err = z.in.Peek(20); err != nil {
			return zipEnded(err)
		}
		if length = 20; int64(le.Uint64(described[12:])) != z.n {
			return refusal(ErrCorrupt, "zip archive has a file whose length is not the announced one")
		}
	}
	_, err = z.in.Discard(length)
	return err
}
