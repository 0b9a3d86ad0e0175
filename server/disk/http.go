package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// webObject is the object at an http(s) URL, including the blobs of a registry. It keeps the properties in the first response, and
// every later response has to agree: two versions are never mixed.
type webObject struct {
	client interface {
		Do(*http.Request) (*http.Response, error)
	}
	url     string
	auth    Credentials
	maxWait time.Duration // the longest pause a server may request
	// immutable content is verified by another method: a digest, or the checksum of the source.
	immutable bool

	known        bool // a response was received; it set the other fields
	size         int64
	ranges       bool // the server offers ranges
	rangeIgnored bool // the server returned the complete object for a range request
	etag         string
	modified     string
	media        string
	unmarked     bool // HTTP/1 without a length and without chunks: the end of the connection is the end of the object
}

// newWebObject returns an object of unknown size until it is opened.
func (o *Opener) newWebObject(src Source) *webObject {
	return &webObject{
		client: o.client, url: src.URL, auth: src.Credentials,
		maxWait: o.opts.Retry.MaxWait, immutable: src.Checksum != "", size: -1,
	}
}

func (w *webObject) info() objectInfo {
	return objectInfo{size: w.size, ranges: w.ranges, mediaType: w.media, unmarked: w.unmarked}
}

// open implements [object].
func (w *webObject) open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	req, err := w.request(ctx, offset)
	if err != nil {
		return nil, err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, transportError(ctx, err)
	}
	body, err := w.accept(resp, offset)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return body, nil
}

// request requests the object from offset on, or the complete object if it has changed.
func (w *webObject) request(ctx context.Context, offset int64) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return nil, refusal(ErrInvalid, "url cannot be parsed")
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	switch {
	case w.auth.Token != "":
		req.Header.Set("Authorization", "Bearer "+w.auth.Token)
	case w.auth.Username != "":
		req.SetBasicAuth(w.auth.Username, w.auth.Password)
	}
	req = withHeaders(req, w.auth.Headers)
	if offset == 0 || w.rangeIgnored {
		return req, nil
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	switch {
	case w.etag != "" && !strings.HasPrefix(w.etag, "W/"): // RFC 9110, 13.1.5: weak validators are not permitted here
		req.Header.Set("If-Range", w.etag)
	case w.modified != "":
		req.Header.Set("If-Range", w.modified)
	}
	return req, nil
}

// accept returns the bytes of a response from offset on.
func (w *webObject) accept(resp *http.Response, offset int64) (io.ReadCloser, error) {
	switch resp.StatusCode {
	case http.StatusOK:
		if err := w.learn(resp, offset, resp.ContentLength); err != nil {
			return nil, err
		}
		return skipped(resp.Body, offset), nil
	case http.StatusPartialContent:
		first, total, ok := contentRange(resp.Header.Get("Content-Range"))
		if !ok || first != offset {
			return nil, refusal(ErrUnavailable, "server returned another range than requested")
		}
		return resp.Body, w.learn(resp, offset, total)
	}
	return nil, w.statusError(resp)
}

// learn keeps the properties in the first response, and compares those in later ones with them.
func (w *webObject) learn(resp *http.Response, offset, size int64) error {
	etag, modified := resp.Header.Get("Etag"), resp.Header.Get("Last-Modified")
	if !w.known {
		w.known, w.size, w.etag, w.modified = true, size, etag, modified
		w.media = resp.Header.Get("Content-Type")
		w.unmarked = size < 0 && resp.ProtoMajor < 2 && len(resp.TransferEncoding) == 0
		w.ranges = size >= 0 && resp.Header.Get("Accept-Ranges") == "bytes"
		return nil
	}
	if offset > 0 && resp.StatusCode == http.StatusOK {
		w.ranges, w.rangeIgnored = false, true
	}
	switch {
	case size != w.size:
		return refusal(ErrChanged, "length changed from %d to %d bytes", w.size, size)
	case w.immutable:
		return nil
	case etag != w.etag:
		return refusal(ErrChanged, "entity tag changed from %s to %s", w.etag, etag)
	case modified != w.modified:
		return refusal(ErrChanged, "modification time changed from %s to %s", w.modified, modified)
	case etag == "" && modified == "" && w.rangeIgnored:
		return refusal(ErrChanged, "server supports no ranges and sends neither ETag nor Last-Modified, so a change cannot be detected")
	}
	return nil
}

// statusError names the status and distinguishes permanent failures from temporary ones.
func (w *webObject) statusError(resp *http.Response) error {
	kind := statusKind(resp.StatusCode)
	err := refusal(kind, "server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	seconds, parseErr := strconv.Atoi(resp.Header.Get("Retry-After"))
	if kind != ErrUnavailable || parseErr != nil || seconds < 0 {
		return err
	}
	return later{err, min(time.Duration(seconds)*time.Second, w.maxWait)}
}

// statusKind maps an HTTP status other than success to a kind of error.
func statusKind(code int) error {
	switch {
	case code == http.StatusNotFound, code == http.StatusGone:
		return ErrNotFound
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusProxyAuthRequired:
		return ErrDenied
	case code == http.StatusPreconditionFailed, code == http.StatusRequestedRangeNotSatisfiable:
		return ErrChanged
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		return ErrUnavailable
	}
	return ErrInvalid
}

// transportError classifies the failure of a request without a response. A refusal is permanent; other errors are temporary.
func transportError(ctx context.Context, err error) error {
	for _, kind := range []error{ErrRefused, ErrDenied, ErrInvalid} {
		if cause := withoutURL(err); errors.Is(cause, kind) {
			return cause
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, interrupted(ctx, withoutURL(err)))
}

// contentRange parses "bytes 5-9/10" to the first byte and the total, −1 if unknown.
func contentRange(header string) (first, total int64, ok bool) {
	span, size, ok := strings.Cut(strings.TrimPrefix(header, "bytes "), "/")
	if !ok {
		return 0, 0, false
	}
	from, _, _ := strings.Cut(span, "-")
	first, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if size == "*" {
		return first, -1, true
	}
	total, err = strconv.ParseInt(size, 10, 64)
	return first, total, err == nil
}

// skipped returns body without its first bytes, which it reads and drops during the first reads.
func skipped(body io.ReadCloser, offset int64) io.ReadCloser {
	if offset == 0 {
		return body
	}
	return &skipping{ReadCloser: body, left: offset}
}

type skipping struct {
	io.ReadCloser
	left int64
}

func (s *skipping) Read(p []byte) (int, error) {
	if s.left == 0 {
		return s.ReadCloser.Read(p)
	}
	n, err := s.ReadCloser.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}
