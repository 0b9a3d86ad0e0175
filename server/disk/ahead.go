package disk

import (
	"io"
	"sync"
)

// Chunks for reading ahead. A few chunks around a decoder keep the stages beside it busy. The packed stream for the NAS has no
// zeros: while the network sends packedChunks, the decoder processes gigabytes of zeros, as at the end of many images. They are
// used only if memory is free.
const (
	aheadBytes   = 512 * kib
	aheadChunks  = 4
	packedChunks = 32
)

// ahead reads from another reader in a separate goroutine, so that download, decompression and upload run at the same time. Its
// memory is fixed: it reuses the chunks.
type ahead struct {
	full  chan chunk
	empty chan []byte
	stop  chan struct{}
	once  sync.Once
	done  chan struct{}

	current chunk
	rest    []byte // the unread part of current
}

// chunk is the data of one read, and the error that ended it.
type chunk struct {
	buf []byte
	err error
}

// readAhead starts to read r. The caller has to close the returned reader, which waits for a read of r in progress.
func readAhead(r io.Reader, chunks int) *ahead {
	a := &ahead{
		full:  make(chan chunk, chunks),
		empty: make(chan []byte, chunks),
		stop:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	for range chunks {
		a.empty <- nil // allocated at its first use: most files are small
	}
	go a.fill(r)
	return a
}

// fill reads until r ends or the reader is closed.
func (a *ahead) fill(r io.Reader) {
	defer close(a.done)
	defer close(a.full)
	for {
		select {
		case <-a.stop:
			return
		case buf := <-a.empty:
			if buf == nil {
				buf = make([]byte, aheadBytes)
			}
			n, err := readFull(r, buf[:cap(buf)])
			a.full <- chunk{buf[:n], err}
			if err != nil {
				return
			}
		}
	}
}

// readFull fills p; if the reader ends early, the error is the reader's own.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// next makes rest hold at least one byte, or returns the end of the stream.
func (a *ahead) next() error {
	for len(a.rest) == 0 {
		if a.current.err != nil {
			return a.current.err
		}
		if a.current.buf != nil {
			a.empty <- a.current.buf // never blocks: there is room for all of them
		}
		c, ok := <-a.full
		if !ok {
			return io.ErrClosedPipe
		}
		a.current, a.rest = c, c.buf
	}
	return nil
}

// Read implements [io.Reader].
func (a *ahead) Read(p []byte) (int, error) {
	if err := a.next(); err != nil {
		return 0, err
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// WriteTo implements [io.WriterTo] without copying.
func (a *ahead) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := a.next(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(a.rest)
		total += int64(n)
		if err != nil {
			return total, err
		}
		a.rest = nil
	}
}

// Close stops reading.
func (a *ahead) Close() error {
	a.once.Do(func() { close(a.stop) })
	<-a.done
	return nil
}
