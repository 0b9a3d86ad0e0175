package xz

import (
	"bufio"
	"io"
)

// Control bytes of LZMA2. Those from controlLZMA on hold the highest bits of the chunk's length as well.
const (
	controlEnd         = 0x00
	controlStoredReset = 0x01 // stored bytes that refer to nothing before them
	controlStored      = 0x02
	controlLZMA        = 0x80
	controlState       = 0xa0 // forgets what was learnt
	controlProperties  = 0xc0 // and takes new properties
	controlReset       = 0xe0 // and refers to nothing before it
)

// maxChunk is the length of the longest chunk, unpacked.
const maxChunk = 1 << 21

// maxSlack is how much is decoded at most before the dictionary is moved to the front of its buffer.
const maxSlack = 16 << 20

// lzma2 decodes the chunks of a block.
type lzma2 struct {
	lzma
	in *bufio.Reader
	n  int64 // bytes read from in

	needReset, needProperties bool
}

// startBlock prepares for a block with a dictionary of size bytes.
func (l *lzma2) startBlock(size int) {
	l.dictSize = size
	l.n, l.needReset, l.needProperties = 0, true, true
}

// resetDictionary forgets what was decoded. There is no buffer before the first chunk, so that a header alone costs
// nothing.
func (l *lzma2) resetDictionary() {
	l.pos = 0
	if want := l.dictSize + max(min(l.dictSize, maxSlack), maxChunk) + posStates; len(l.buf) < want {
		l.buf = make([]byte, want)
	}
}

// chunk decodes one chunk, and returns its bytes, which hold until the next one. It answers io.EOF behind the last.
func (l *lzma2) chunk() ([]byte, error) {
	control, err := l.byte()
	if err != nil {
		return nil, err
	}
	if control == controlEnd {
		return nil, io.EOF
	}
	if control >= controlReset || control == controlStoredReset {
		l.needReset, l.needProperties = false, true
		l.resetDictionary()
	}
	switch {
	case l.needReset:
		return nil, corrupt("chunk refers to bytes before the first")
	case control >= controlLZMA:
		return l.compressed(control)
	case control <= controlStored:
		return l.stored()
	}
	return nil, corrupt("chunk of unknown kind %#x", control)
}

// stored copies a chunk that was not compressed.
func (l *lzma2) stored() ([]byte, error) {
	length, err := l.number()
	if err != nil {
		return nil, err
	}
	l.makeRoom(length)
	chunk := l.buf[l.pos:][:length]
	l.pos += length
	return chunk, l.full(chunk)
}

// compressed decodes a chunk of LZMA.
func (l *lzma2) compressed(control byte) ([]byte, error) {
	low, err := l.number()
	if err != nil {
		return nil, err
	}
	length := int(control&0x1f)<<16 + low
	packed, err := l.number()
	if err != nil {
		return nil, err
	}
	if control >= controlProperties {
		b, err := l.byte()
		if err != nil {
			return nil, err
		}
		if !l.setProperties(b) {
			return nil, corrupt("properties are %d", b)
		}
		l.needProperties = false
	}
	if l.needProperties || packed < 5 {
		return nil, corrupt("chunk has no properties or no content")
	}
	if control >= controlState {
		l.reset()
	}
	if err := l.full(l.rc.in[:packed]); err != nil {
		return nil, err
	}
	l.rc.start(packed)
	l.makeRoom(length)
	start := l.pos
	if !l.decode(start+length) || !l.rc.finished() {
		return nil, corrupt("chunk does not fit its length")
	}
	return l.buf[start:l.pos], nil
}

// makeRoom moves the dictionary to the front of its buffer if n bytes do not fit behind it.
func (l *lzma2) makeRoom(n int) {
	if l.pos+n <= len(l.buf) {
		return
	}
	drop := (l.pos - l.dictSize) &^ (posStates - 1)
	copy(l.buf, l.buf[drop:l.pos])
	l.pos -= drop
}

// number reads two bytes, which count from one.
func (l *lzma2) number() (int, error) {
	var b [2]byte
	err := l.full(b[:])
	return int(b[0])<<8 + int(b[1]) + 1, err
}

// byte reads one byte.
func (l *lzma2) byte() (byte, error) {
	var b [1]byte
	err := l.full(b[:])
	return b[0], err
}

// full reads all of p.
func (l *lzma2) full(p []byte) error {
	n, err := io.ReadFull(l.in, p)
	l.n += int64(n)
	return early(err)
}
