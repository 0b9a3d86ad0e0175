package disk

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// ownHeaders are set by this package or by net/http, and cannot be credentials.
var ownHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Length", "Host", "If-Range", "Range", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent",
}

// maxHeaders bounds how many headers a source may have.
const maxHeaders = 32

// CheckHeaders reports a header that cannot be sent. Its error never holds a value, which may be a secret.
func CheckHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return refusal(ErrInvalid, "%d headers; at most %d are allowed", len(headers), maxHeaders)
	}
	for name, value := range headers {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return refusal(ErrInvalid, "%q is not the name of an HTTP header", name)
		case slices.Contains(ownHeaders, http.CanonicalHeaderKey(name)):
			return refusal(ErrInvalid, "header %s cannot be set", http.CanonicalHeaderKey(name))
		case !httpguts.ValidHeaderFieldValue(value):
			return refusal(ErrInvalid, "header %s: the value has characters that HTTP does not allow", http.CanonicalHeaderKey(name))
		}
	}
	return nil
}

type headersKey struct{}

// withHeaders sets the headers of a source on a request, and records their names.
func withHeaders(req *http.Request, headers map[string]string) *http.Request {
	if len(headers) == 0 {
		return req
	}
	names := make([]string, 0, len(headers))
	for name, value := range headers {
		req.Header.Set(name, value)
		names = append(names, name)
	}
	return req.WithContext(context.WithValue(req.Context(), headersKey{}, names))
}

// dropHeaders removes the headers of a source from a redirected request to another host, because they are only for the first one.
// net/http drops only the headers that it knows as credentials.
func dropHeaders(req, first *http.Request) {
	if strings.EqualFold(req.URL.Host, first.URL.Host) {
		return
	}
	names, _ := req.Context().Value(headersKey{}).([]string)
	for _, name := range names {
		req.Header.Del(name)
	}
}
