package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// flaky serves content, and cuts the connection each time after a number of bytes.
type flaky struct {
	content  []byte
	each     int
	ranges   bool
	etag     func(request int) string
	length   bool // announce the length
	requests int
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.requests++
	request := f.requests
	etag := f.etag(request)
	if etag != "" {
		w.Header().Set("Etag", etag)
	}
	from := 0
	if f.ranges {
		w.Header().Set("Accept-Ranges", "bytes")
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && r.Header.Get("If-Range") == etag {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(f.content)-1, len(f.content)))
			w.Header().Set("Content-Length", fmt.Sprint(len(f.content)-from))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			from = 0
		}
	}
	if f.length {
		w.Header().Set("Content-Length", fmt.Sprint(len(f.content)-from))
	}
	until := len(f.content)
	if f.each > 0 {
		until = min(from+f.each, until)
		if !f.ranges {
			until = min(f.each*request, len(f.content)) // gets a little further each time
		}
	}
	w.Write(f.content[from:until])
	if until < len(f.content) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func same(int) string   { return `"v1"` }
func none(int) string   { return "" }
func each(n int) string { return fmt.Sprintf(`"v%d"`, n) }
func weak(int) string   { return `W/"v1"` }

func TestInterruptedDownloadIsResumed(t *testing.T) {
	content := rawDisk(3 * mib)
	for _, tt := range []struct {
		name   string
		server flaky
		kind   error // nil: it succeeds
	}{
		{"with ranges", flaky{ranges: true, length: true, etag: same}, nil},
		{"without ranges, by reading again", flaky{length: true, etag: same}, nil},
		{"without ranges or length", flaky{etag: same}, nil},
		{"with ranges and no entity tag", flaky{ranges: true, length: true, etag: none}, nil},
		{"without a way to detect a change", flaky{length: true, etag: none}, ErrChanged},
		{"with ranges, replaced in between", flaky{ranges: true, length: true, etag: each}, ErrChanged},
		{"without ranges, replaced in between", flaky{length: true, etag: each}, ErrChanged},
		{"with a weak entity tag, by reading again", flaky{length: true, etag: weak}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.server.content, tt.server.each = content, mib
			_, got, err := read(t, newOpener(t), Source{URL: serveHandler(t, tt.server.ServeHTTP)})
			if tt.kind != nil {
				want(t, err, tt.kind)
				return
			}
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes after %d requests, error %v", len(got), tt.server.requests, err)
			}
		})
	}
}

// A source with a checksum may be read in several attempts: the checksum verifies that the parts match.
func TestResumedWithChecksum(t *testing.T) {
	content := rawDisk(2 * mib)
	img, _ := mustRead(t, newOpener(t), Source{URL: serve(t, content), ChecksumType: "sha256"})
	server := flaky{content: content, each: mib, length: true, etag: none}
	_, got := mustRead(t, newOpener(t), Source{URL: serveHandler(t, server.ServeHTTP), Checksum: img.Sum})
	if !bytes.Equal(got, content) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestServerWithoutProgress(t *testing.T) {
	requests := 0
	url := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		w.Header().Set("Etag", `"v1"`)
		w.Header().Set("Content-Length", "1048576")
		w.Write(rawDisk(100 * kib))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	_, _, err := read(t, newOpener(t), Source{URL: url})
	want(t, err, ErrUnavailable, "interrupted at byte 102400")
	if !Temporary(err) || requests != 3 {
		t.Errorf("%d requests, temporary %t", requests, Temporary(err))
	}
}

func TestStalledDownloadIsResumed(t *testing.T) {
	content := rawDisk(mib)
	requests := 0
	url := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"v1"`)
		if requests++; requests > 1 {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:mib/2])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	o := newOpener(t, func(o *Options) {
		o.StallTimeout, o.Retry.Attempts = 50*time.Millisecond, 1000 // A slow machine may seem to stall too.
	})
	if _, got := mustRead(t, o, Source{URL: url}); !bytes.Equal(got, content) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestStatusIsClassified(t *testing.T) {
	for _, tt := range []struct {
		status   int
		kind     error
		requests int
	}{
		{http.StatusNotFound, ErrNotFound, 1},
		{http.StatusGone, ErrNotFound, 1},
		{http.StatusUnauthorized, ErrDenied, 1},
		{http.StatusForbidden, ErrDenied, 1},
		{http.StatusTeapot, ErrInvalid, 1},
		{http.StatusTooManyRequests, ErrUnavailable, 3},
		{http.StatusInternalServerError, ErrUnavailable, 3},
		{http.StatusServiceUnavailable, ErrUnavailable, 3},
	} {
		t.Run(http.StatusText(tt.status), func(t *testing.T) {
			requests := 0
			url := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				w.Header().Set("Retry-After", "86400") // the policy limits the wait
				w.WriteHeader(tt.status)
			})
			_, err := newOpener(t).Open(timeout(t), Source{URL: url})
			want(t, err, tt.kind, fmt.Sprint(tt.status))
			if requests != tt.requests {
				t.Errorf("%d requests, want %d", requests, tt.requests)
			}
		})
	}
}

func TestTemporarilyUnavailable(t *testing.T) {
	requests := 0
	content := rawDisk(4096)
	url := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Write(content)
	})
	if _, got := mustRead(t, newOpener(t), Source{URL: url}); !bytes.Equal(got, content) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestClosedPort(t *testing.T) {
	_, err := newOpener(t).Open(timeout(t), Source{URL: "http://127.0.0.1:1/image"})
	want(t, err, ErrUnavailable, "connection refused")
}

func TestCancelledWhileItIsRead(t *testing.T) {
	url := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(rawDisk(2 * mib))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	for name, compression := range map[string]string{"plain": url} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			img, err := newOpener(t).Open(ctx, Source{URL: compression})
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			enough := errors.New("the caller has had enough")
			_, err = img.WriteTo(writerFunc(func(p []byte) (int, error) { cancel(enough); return len(p), nil }))
			want(t, err, enough)
		})
	}
}

func TestFailingWriter(t *testing.T) {
	full := errors.New("disk full")
	for name, content := range map[string][]byte{"plain": rawDisk(4 * mib), "compressed": gzipped(t, rawDisk(4*mib))} {
		img, err := newOpener(t).Open(t.Context(), Source{URL: serve(t, content)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = img.WriteTo(writerFunc(func([]byte) (int, error) { return 0, full }))
		if !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
		img.Close()
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestReaderEnd(t *testing.T) {
	content := rawDisk(3 * mib)
	o := newOpener(t)
	img, err := o.Open(t.Context(), Source{URL: serve(t, content)})
	if err != nil {
		t.Fatal(err)
	}
	r := img.Reader()
	var got bytes.Buffer
	if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), content) {
		t.Errorf("%d bytes, error %v", got.Len(), err)
	}
	r.Close()
	img.Close()

	img, err = o.Open(t.Context(), Source{URL: serve(t, content), Checksum: strings.Repeat("0", 40)})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	r = img.Reader()
	_, err = got.ReadFrom(r)
	want(t, err, ErrChecksum, "sha1")
	r.Close()

	early, err := o.Open(t.Context(), Source{URL: serve(t, content)})
	if err != nil {
		t.Fatal(err)
	}
	early.Reader().Close()
	early.Close()
}

func TestReadTwice(t *testing.T) {
	img, err := newOpener(t).Open(t.Context(), Source{URL: serve(t, rawDisk(4096))})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, err := img.WriteTo(&bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	_, err = img.WriteTo(&bytes.Buffer{})
	want(t, err, ErrInvalid, "read already")
}

func TestBasicAndBearerAuthentication(t *testing.T) {
	content := rawDisk(4096)
	for _, tt := range []struct {
		name, userinfo string
		credentials    Credentials
		header         string
	}{
		{"in the URL", "joe:pass@", Credentials{}, "Basic am9lOnBhc3M="},
		{"user and password", "", Credentials{Username: "joe", Password: "pass"}, "Basic am9lOnBhc3M="},
		{"token", "", Credentials{Token: "abc"}, "Bearer abc"},
	} {
		url := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != tt.header {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Write(content)
		})
		src := Source{URL: strings.Replace(url, "http://", "http://"+tt.userinfo, 1), Credentials: tt.credentials}
		if _, got, err := read(t, newOpener(t), src); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
