package disk

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// newFakeS3 serves a store with one object in this process. before receives every request, and returns true after it has responded
// itself.
func newFakeS3(t *testing.T, key string, content []byte, before func(http.ResponseWriter, *http.Request) bool) S3 {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("images"); err != nil {
		t.Fatal(err)
	}
	if _, err := backend.PutObject("images", key, map[string]string{"Last-Modified": "Mon, 2 Jan 2006 15:04:05 GMT"}, bytes.NewReader(content), int64(len(content)), nil); err != nil {
		t.Fatal(err)
	}
	store := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r) {
			store.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return S3{Endpoint: server.URL, Region: "us-east-1", PathStyle: true}
}

func TestS3(t *testing.T) {
	content := rawDisk(3 * mib)
	var seen []*http.Request
	service := newFakeS3(t, "some/disk.raw", content, func(_ http.ResponseWriter, r *http.Request) bool {
		seen = append(seen, r)
		return false
	})
	src := Source{
		URL: "s3://images/some/disk.raw", S3: service, ChecksumType: "sha256",
		Credentials: Credentials{AccessKeyID: "key", SecretAccessKey: "secret", SessionToken: "session"},
	}
	img, got := mustRead(t, newOpener(t), src)
	if !bytes.Equal(got, content) || img.VirtualBytes != 3*mib || img.DownloadBytes != 3*mib {
		t.Errorf("got %d bytes, a disk of %d", len(got), img.VirtualBytes)
	}
	for _, r := range seen {
		if !strings.HasPrefix(r.URL.Path, "/images/") || r.Header.Get("X-Amz-Security-Token") != "session" || r.Header.Get("Authorization") == "" {
			t.Errorf("%s %s went out without path style, session or signature", r.Method, r.URL.Path)
		}
	}
	src.URL = "s3://images/other.raw"
	_, err := newOpener(t).Open(t.Context(), src)
	want(t, err, ErrNotFound, "NoSuchKey")

	defaults := newOpener(t, func(o *Options) { o.S3 = service })
	if _, got := mustRead(t, defaults, Source{URL: "s3://images/some/disk.raw"}); !bytes.Equal(got, content) {
		t.Error("an anonymous request through the default endpoint got other content")
	}
	_, err = newOpener(t, func(o *Options) { o.AllowAddresses = nil }).Open(t.Context(), src)
	want(t, err, ErrRefused, "loopback")
}

func TestS3Interrupted(t *testing.T) {
	content := rawDisk(3 * mib)
	requests := 0
	var store http.Handler
	cut := func(w http.ResponseWriter, r *http.Request) bool {
		if requests++; requests == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		if requests > 4 {
			return false
		}
		recorder := httptest.NewRecorder()
		store.ServeHTTP(recorder, r)
		for name, values := range recorder.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(recorder.Code)
		w.Write(recorder.Body.Bytes()[:recorder.Body.Len()/2])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	direct := newFakeS3(t, "disk.raw", content, nil)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", strings.TrimPrefix(direct.Endpoint, "http://")
	}}
	transport := &http.Transport{DisableKeepAlives: true}
	proxy.Transport, store = transport, proxy
	service := newFakeS3(t, "unused", nil, func(w http.ResponseWriter, r *http.Request) bool {
		if !cut(w, r) {
			store.ServeHTTP(w, r)
		}
		return true
	})
	_, got := mustRead(t, newOpener(t), Source{URL: "s3://images/disk.raw", S3: service})
	if !bytes.Equal(got, content) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestS3Errors(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		kind   error
	}{
		{http.StatusForbidden, "AccessDenied", ErrDenied},
		{http.StatusForbidden, "SignatureDoesNotMatch", ErrDenied},
		{http.StatusNotFound, "NoSuchBucket", ErrNotFound},
		{http.StatusServiceUnavailable, "SlowDown", ErrUnavailable},
		{http.StatusPreconditionFailed, "PreconditionFailed", ErrChanged},
	} {
		service := newFakeS3(t, "disk.raw", rawDisk(512), func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(tt.status)
			io.WriteString(w, "<Error><Code>"+tt.code+"</Code><Message>you signed hunter2</Message></Error>")
			return true
		})
		_, err := newOpener(t).Open(timeout(t), Source{URL: "s3://images/disk.raw", S3: service})
		want(t, err, tt.kind, tt.code)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the service's message is in %v", err)
		}
	}
}

func TestS3Endpoints(t *testing.T) {
	for raw, wanted := range map[string]string{
		"minio.example.org":         "minio.example.org true",
		"minio.example.org:9000":    "minio.example.org:9000 true",
		"http://minio:9000":         "minio:9000 false",
		"https://s3.example.org/":   "s3.example.org true",
		"ftp://minio":               "",
		"https://joe:pass@minio":    "",
		"https://minio/with/a/path": "",
	} {
		host, secure, err := endpoint(raw)
		got := host
		if err == nil {
			got += map[bool]string{true: " true", false: " false"}[secure]
		}
		if got != wanted || (err != nil) != (wanted == "") {
			t.Errorf("%s: %q, %v", raw, got, err)
		}
	}
}
