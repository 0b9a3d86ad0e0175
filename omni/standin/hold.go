package standin

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// hold stops images in the middle.
type hold struct {
	at       int64 // bytes that are served
	released chan struct{}
	release  func()
}

// HoldAt lets images stop after that many bytes until [Factory.Release] is called.
func (f *Factory) HoldAt(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	released := make(chan struct{})
	f.hold = &hold{at: bytes, released: released, release: sync.OnceFunc(func() { close(released) })}
}

// Release resumes the images that HoldAt stopped. Calling it again is harmless.
func (f *Factory) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hold != nil {
		f.hold.release()
	}
}

// held is the content of an image, which stops where the factory holds images.
func (f *Factory) held(ctx context.Context, content *bytes.Reader) io.ReadSeeker {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hold == nil {
		return content
	}
	return &heldReader{content, ctx, f.hold}
}

type heldReader struct {
	*bytes.Reader
	ctx  context.Context
	hold *hold
}

// Read implements [io.Reader]. It stops at the hold, and ends with the request.
func (r *heldReader) Read(p []byte) (int, error) {
	at := r.Size() - int64(r.Len())
	if left := r.hold.at - at; left > 0 {
		return r.Reader.Read(p[:min(int64(len(p)), left)])
	}
	select {
	case <-r.hold.released:
		return r.Reader.Read(p)
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
}

// WriteTo hides the method of the reader, which does not stop.
func (r *heldReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}
