package disk

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"sync"
	"time"
)

// Opener opens images within the limits of its options. It is safe for concurrent use.
type Opener struct {
	opts   Options
	guard  guard
	client *http.Client

	pairing *sync.Mutex // held by the one image whose blocks are unpacked two at a time; nil: there is no memory for that
	memory  *memory     // the memory of all transfers, except for the pairing
}

// New makes an Opener. Close it to close idle connections.
func New(opts Options) (*Opener, error) {
	opts = opts.withDefaults()
	roots := make([]string, len(opts.FileRoots))
	for i, root := range opts.FileRoots {
		if !filepath.IsAbs(root) {
			return nil, refusal(ErrInvalid, "file root %q is not an absolute path", root)
		}
		roots[i] = filepath.Clean(root)
	}
	opts.FileRoots = roots
	g := guard{allow: opts.AllowAddresses}
	o := &Opener{opts: opts, guard: g, client: newClient(opts, g)}
	total := opts.MaxMemory
	if opts.MaxMemory >= 3*pairingBytes {
		o.pairing = new(sync.Mutex)
		total -= pairingBytes
	}
	o.memory = newMemory(total)
	return o, nil
}

// Close closes idle connections. Open images stay open.
func (o *Opener) Close() error {
	o.client.CloseIdleConnections()
	return nil
}

// Open fetches the head of an image and checks it. The context governs the image until it is closed.
func (o *Opener) Open(ctx context.Context, src Source) (*Image, error) {
	return o.opened(ctx, src, o.reference)
}

// referrer parses a URL. It returns the URL, or the local file that the URL refers to.
type referrer func(raw string) (*url.URL, *localFile, error)

// reference parses an image's URL.
func (o *Opener) reference(raw string) (*url.URL, *localFile, error) {
	ref, err := parseReference(raw)
	if err != nil || ref.Scheme != "file" {
		return ref, nil, err
	}
	dir, rel, err := o.rootOf(ref.Path)
	return ref, &localFile{dir, rel}, err
}

// opened is open with a context that the image cancels, and with the source in its errors.
func (o *Opener) opened(ctx context.Context, src Source, read referrer) (*Image, error) {
	ctx, cancel := context.WithCancel(ctx)
	img, err := o.open(ctx, src, read)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("image %s: %w", redacted(src.URL), err)
	}
	img.cancel = cancel
	return img, nil
}

// open makes all checks that need only the head of the image, cheapest first.
func (o *Opener) open(ctx context.Context, src Source, read referrer) (*Image, error) {
	announced, err := ParseFormat(src.Format)
	if err != nil {
		return nil, err
	}
	ref, file, err := read(src.URL)
	if err != nil {
		return nil, err
	}
	sum, err := o.checksumOf(ctx, src, read)
	if err != nil {
		return nil, err
	}
	return o.admitted(ctx, src, func(ctx context.Context) (*Image, error) {
		from, err := o.supply(ctx, ref, file, src)
		if err != nil {
			return nil, err
		}
		img, err := o.judge(ctx, from, src, announced, sum)
		if err != nil {
			return nil, err
		}
		img.Name = redacted(src.URL)
		return img, nil
	})
}

// fragment returns the file that a URL selects from an archive, "oci://…#disk.qcow2"; empty: the only disk.
func fragment(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" {
		return ""
	}
	return u.Fragment
}

// supply is the stream of the published bytes of an image.
type supply struct {
	io.Reader
	size  int64       // −1 if unknown
	at    io.ReaderAt // reads at any offset; nil without support
	close func()

	sized     bool   // the end of the transfer shows whether it is complete
	mediaType string // the media type that the server reports; empty: none
	wide      bool   // the enclosing stream has a wide window already
	member    string // the name of this file in an archive; empty without an archive
}

// Close ends the transfer.
func (s *supply) Close() error {
	s.close()
	return nil
}

// supply starts the transfer.
func (o *Opener) supply(ctx context.Context, ref *url.URL, local *localFile, src Source) (*supply, error) {
	announced := int64(-1)
	if src.Bytes > 0 {
		announced = src.Bytes
	}
	if local != nil {
		return o.supplyFile(ctx, local, src, announced)
	}
	switch ref.Scheme {
	case "s3":
		object, err := o.newS3Object(ref, src)
		if err != nil {
			return nil, err
		}
		return o.stream(ctx, src, object, announced)
	case "oci":
		return o.openOCI(ctx, ref, src, announced)
	}
	return o.stream(ctx, src, o.newWebObject(src), announced)
}

// supplyFile starts to read a file.
func (o *Opener) supplyFile(ctx context.Context, local *localFile, src Source, announced int64) (*supply, error) {
	file, err := openFile(local)
	if err != nil {
		return nil, err
	}
	s, err := o.stream(ctx, src, file, announced)
	if err != nil {
		file.Close()
		return nil, err
	}
	end := s.close
	s.close = func() { end(); file.Close() }
	return s, nil
}

// stream starts to read an object from its first byte.
func (o *Opener) stream(ctx context.Context, src Source, obj object, announced int64) (*supply, error) {
	s := &stream{
		ctx: ctx, name: redacted(src.URL), obj: obj, announced: announced,
		policy: o.opts.Retry, stall: o.opts.StallTimeout, log: o.opts.Logger,
	}
	if err := s.connect(); err != nil {
		s.Close()
		return nil, err
	}
	info := obj.info()
	from := &supply{
		Reader: s, size: s.size(), close: func() { s.Close() },
		sized: s.size() >= 0 || !info.unmarked, mediaType: info.mediaType,
	}
	if info.ranges && from.size >= 0 {
		from.at = randomAccess{ctx, obj, o.opts.StallTimeout}
	}
	return from, nil
}

// judge detects the format of the bytes, and decides whether to accept them. It takes ownership of the supply.
func (o *Opener) judge(ctx context.Context, from *supply, src Source, announced Format, sum checksum) (*Image, error) {
	img := &Image{
		DownloadBytes: from.size, VirtualBytes: -1, Bytes: -1, file: -1,
		from: from, choose: fragment(src.URL), repack: src.Repack, announced: announced, checksum: sum, limit: o.opts.MaxVirtualBytes,
		meter: &meter{r: from, total: from.size, report: src.Progress, passed: o.opts.OnBytes, started: time.Now()},
	}
	if from.member != "" {
		img.Member, img.choose = from.member, ""
	}
	if sum.new != nil {
		img.SumType, img.meter.sum = sum.name, sum.new()
	}
	unwrap := func(img *Image) error { return o.unwrap(ctx, img) }
	for _, step := range []func(*Image) error{unwrap, o.unpack, o.identify, o.measure, o.lookAtEnd} {
		if err := step(img); err != nil {
			img.Close()
			return nil, err
		}
	}
	return img, nil
}

// Judge is Open for a file of size bytes that the caller reads, from its first byte on. It takes ownership of r: closing the image
// closes it. The source's URL is only a name.
func (o *Opener) Judge(ctx context.Context, src Source, r io.ReadCloser, size int64) (*Image, error) {
	announced, err := ParseFormat(src.Format)
	var sum checksum
	if err == nil {
		sum, err = o.checksumOf(ctx, src, o.reference)
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("image %s: %w", redacted(src.URL), err)
	}
	ctx, cancel := context.WithCancel(ctx)
	from := &supply{Reader: r, size: size, sized: true, close: func() { r.Close() }}
	img, err := o.judge(ctx, from, src, announced, sum)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("image %s: %w", redacted(src.URL), err)
	}
	img.Name, img.cancel = redacted(src.URL), cancel
	return img, nil
}
