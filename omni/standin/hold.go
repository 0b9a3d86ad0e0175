package standin

import (
	"bytes"
	"context"
	"io"
	"sync"
)

// hold stops downloads of images at an offset.
type hold struct {
	at       int64 // offset
	released chan struct{}
	release  func()
}

// HoldAt makes downloads of images stop after that many bytes until [Factory.Release] is called.
func (f *Factory) HoldAt(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	released := make(chan struct{})
	f.hold = &hold{at: bytes, released: released, release: sync.OnceFunc(func() { close(released) })}
}

// Release resumes the downloads that HoldAt stopped. It may be called again.
func (f *Factory) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hold != nil {
		f.hold.release()
	}
}

// held wraps the content of an image in a reader that stops at the hold, if there is one.
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

// Read implements [io.Reader]. It blocks at the hold until the release or the end of the request.
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

// WriteTo hides the method of the embedded reader, which would not stop.
func (r *heldReader) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{r})
}
