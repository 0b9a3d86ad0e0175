package disk

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"math"
	"runtime"
	"sync"

	"github.com/mikelolasagasti/xz"
)

// xzPairBytes bounds the memory of two blocks that are unpacked at the same time: both of them packed, and one of them unpacked. xz
// -T makes blocks of 24 MiB by default. xzPairWindow is the maximum window of the block in the background, which is needed twice in
// addition.
const (
	xzPairBytes  = 44 * mib
	xzPairWindow = 8 * mib
)

// xzDecoder unpacks an xz file. If its blocks state their sizes, as xz -T writes them, two are unpacked at the same time: one as it
// is read, and the next one in the background, into memory. The first block is unpacked alone, so that the image can be refused by
// its first bytes before more is fetched; so are blocks that are too large. Only the goroutine that reads the decoder reads the
// input.
type xzDecoder struct {
	blocks  xzBlocks
	window  uint32
	pairing *sync.Mutex // held while this decoder makes pairs; nil: it never does
	paired  bool
	first   bool // the first block is done

	current io.Reader // nil between blocks
	second  *xzSecond // the block in the background, nil for none
	waiting *xzPart   // the next part, if it was read already
	err     error

	// Reused from block to block.
	reader *xz.Reader
	packed []byte
	spare  *xzSecond
}

// xzPart is a result of [xzBlocks].
type xzPart struct {
	block *xzBlock
	whole io.Reader
	err   error
}

// newXZDecoder unpacks r. Of the decoders that share a lock, one at a time makes pairs, which bounds the memory of all.
func newXZDecoder(r *bufio.Reader, window int64, pairing *sync.Mutex) (io.ReadCloser, error) {
	d := &xzDecoder{blocks: xzBlocks{r: r}, window: uint32(min(window, math.MaxUint32)), pairing: pairing}
	d.err = d.advance() // It reads the header, as the library does.
	return d, d.err
}

// Read implements [io.Reader].
func (d *xzDecoder) Read(p []byte) (int, error) {
	for d.err == nil {
		if d.current == nil {
			d.err = d.advance()
			continue
		}
		n, err := d.current.Read(p)
		if err == io.EOF {
			d.current, err = nil, nil
		}
		d.err = err
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
	return 0, d.err
}

// advance moves to the next block.
func (d *xzDecoder) advance() error {
	if d.second != nil {
		return d.takeSecond()
	}
	switch part := d.part(); {
	case part.err != nil:
		return part.err
	case part.whole != nil:
		d.waiting = &xzPart{err: io.EOF}
		return d.unpack(part.whole)
	case !d.pairs(part.block):
		d.first = true
		return d.unpack(part.block.file(&exactly{d.blocks.r, part.block.rest()}))
	default:
		return d.pair(part.block)
	}
}

// part returns the next part of the file.
func (d *xzDecoder) part() xzPart {
	if next := d.waiting; next != nil {
		d.waiting = nil
		return *next
	}
	var next xzPart
	next.block, next.whole, next.err = d.blocks.next()
	return next
}

// unpack makes the library read a file.
func (d *xzDecoder) unpack(file io.Reader) (err error) {
	d.current, err = reused(&d.reader, file, d.window)
	return err
}

// reused returns a reader of the library that keeps its window from block to block.
func reused(reader **xz.Reader, file io.Reader, window uint32) (r io.Reader, err error) {
	if *reader == nil {
		*reader, err = xz.NewReader(file, window)
	} else {
		err = (*reader).Reset(file)
	}
	return *reader, err
}

// pairs reports whether a block could be one of two, if the next one is similar.
func (d *xzDecoder) pairs(b *xzBlock) bool {
	if !d.first || d.pairing == nil || runtime.GOMAXPROCS(0) < 2 || 2*b.rest()+b.unpacked > xzPairBytes {
		return false
	}
	if !d.paired {
		d.paired = d.pairing.TryLock()
	}
	return d.paired
}

// pair reads a block, and starts to unpack the next one in the background.
func (d *xzDecoder) pair(b *xzBlock) (err error) {
	if d.packed, err = fetched(d.packed, d.blocks.r, b); err != nil {
		return err
	}
	if err := d.unpack(b.file(bytes.NewReader(d.packed))); err != nil {
		return err
	}
	next := d.part()
	if next.block == nil || b.rest()+next.block.rest()+next.block.unpacked > xzPairBytes {
		d.waiting = &next
		return nil
	}
	if d.spare == nil {
		d.spare = &xzSecond{window: min(d.window, xzPairWindow)}
	}
	if err := d.spare.start(d.blocks.r, next.block); err != nil {
		d.waiting = &xzPart{err: err} // It is reported after the current block.
		return nil
	}
	d.second = d.spare
	return nil
}

// takeSecond moves to the block in the background. A block with a too large window is unpacked now, and no more pairs are tried.
func (d *xzDecoder) takeSecond() error {
	s := d.second
	d.second = nil
	<-s.done
	if errors.Is(s.err, xz.ErrMemlimit) {
		d.release()
		d.pairing = nil
		return d.unpack(s.block.file(bytes.NewReader(s.packed)))
	}
	d.current = bytes.NewReader(s.unpacked)
	return s.err
}

// release lets another decoder make pairs.
func (d *xzDecoder) release() {
	if d.paired {
		d.paired = false
		d.pairing.Unlock()
	}
}

// Close waits for the work in the background.
func (d *xzDecoder) Close() error {
	if d.second != nil {
		<-d.second.done
		d.second = nil
	}
	d.release()
	d.err = cmp.Or(d.err, io.ErrClosedPipe)
	return nil
}

// xzSecond is a block that is unpacked in the background.
type xzSecond struct {
	window   uint32
	block    *xzBlock
	done     chan struct{}
	err      error
	reader   *xz.Reader
	packed   []byte
	unpacked []byte
}

// start reads a block and starts to unpack it.
func (s *xzSecond) start(r io.Reader, b *xzBlock) (err error) {
	if s.packed, err = fetched(s.packed, r, b); err != nil {
		return err
	}
	if s.unpacked = s.unpacked[:0]; int64(cap(s.unpacked)) < b.unpacked {
		s.unpacked = make([]byte, b.unpacked)
	}
	s.unpacked, s.block, s.done = s.unpacked[:b.unpacked], b, make(chan struct{})
	go func() {
		defer close(s.done)
		s.err = s.run()
	}()
	return nil
}

// run fills the buffer. The library checks the block against the sizes in its header.
func (s *xzSecond) run() error {
	file, err := reused(&s.reader, s.block.file(bytes.NewReader(s.packed)), s.window)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(file, s.unpacked); err != nil {
		return unexpectedEOF(err)
	}
	if n, err := file.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return cmp.Or(err, xz.ErrData)
	}
	return nil
}

// fetched reads the data after a block's header.
func fetched(buf []byte, r io.Reader, b *xzBlock) ([]byte, error) {
	if int64(cap(buf)) < b.rest() {
		buf = make([]byte, b.rest())
	}
	buf = buf[:b.rest()]
	_, err := io.ReadFull(r, buf)
	return buf, unexpectedEOF(err)
}

// exactly reads n bytes of r, and returns an error for an earlier end.
type exactly struct {
	r io.Reader
	n int64
}

// Read implements [io.Reader].
func (e *exactly) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.n)])
	if e.n -= int64(n); e.n == 0 && err == io.EOF {
		err = nil
	}
	return n, unexpectedEOF(err)
}
