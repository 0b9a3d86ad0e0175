package disk

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// stallTimeout is how long a source may be silent before its transfer is interrupted and retried. The interruption and the retry
// together stay below the 45 seconds that an upload to the NAS waits.
const stallTimeout = 20 * time.Second

const (
	dialTimeout    = 20 * time.Second
	headerTimeout  = 20 * time.Second
	redirectsLimit = 10
)

// userAgent identifies the program to operators of servers.
const userAgent = "virtrigaud-provider-truenas"

// newClient makes the HTTP client that all network sources share.
func newClient(o Options, g guard) *http.Client {
	transport := &http.Transport{
		Proxy:                 proxyOf(o),
		DialContext:           g.dialer().DialContext,
		TLSClientConfig:       o.TLS.Clone(),
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   4,
		ReadBufferSize:        64 * kib,
		// The checksum is that of the stored file: nothing is unpacked in transit.
		DisableCompression: true,
	}
	// HTTP/2 would put all images of one server on one connection, where they share one window and slow each other down.
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	return &http.Client{
		Transport:     guarded{guard: g, next: transport},
		CheckRedirect: checkRedirect,
	}
}

// proxyOf returns the proxy function. The address of a proxy may contain a password, which the error of net/http would print.
func proxyOf(o Options) func(*http.Request) (*url.URL, error) {
	if o.Proxy == nil {
		return nil
	}
	return func(req *http.Request) (*url.URL, error) {
		proxy, err := o.Proxy(req)
		if err != nil {
			return nil, refusal(ErrInvalid, "HTTPS_PROXY or HTTP_PROXY: not a valid proxy address")
		}
		return proxy, nil
	}
}

// guarded checks the URL of every request before it is sent, including those after a redirect.
type guarded struct {
	guard guard
	next  *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.guard.checkURL(req.URL); err != nil {
		return nil, err
	}
	return t.next.RoundTrip(req)
}

// CloseIdleConnections is called by [http.Client.CloseIdleConnections].
func (t guarded) CloseIdleConnections() { t.next.CloseIdleConnections() }

// checkRedirect follows http and https only, and never from https to http: a checksum, if there is one, is the
// only protection against a replaced file, and it is optional.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= redirectsLimit {
		return refusal(ErrRefused, "more than %d redirects", redirectsLimit)
	}
	if !slices.Contains([]string{"http", "https"}, req.URL.Scheme) {
		return refusal(ErrRefused, "redirect to %s, allowed are http and https", withoutSecrets(req.URL))
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme == "http" {
		return refusal(ErrRefused, "redirect from https to %s", withoutSecrets(req.URL))
	}
	dropHeaders(req, via[0])
	return nil
}

// withoutURL removes the URL from an error of net/http, which prints it with its query.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
