package truenas

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/websocket"
)

const (
	dialTimeout     = 5 * time.Second
	answerTimeout   = 10 * time.Second // for the TLS handshake, and for short HTTP replies
	idleConnections = 30 * time.Second
)

// A dialer opens connections to one NAS, all with the same TLS configuration.
type dialer struct {
	base *url.URL
	tls  *tls.Config
	http *http.Client
	ws   *websocket.Dialer
}

func newDialer(cfg Config) (*dialer, error) {
	base, err := cfg.endpoint()
	if err != nil {
		return nil, err
	}
	rules, err := tlsRules(cfg)
	if err != nil {
		return nil, err
	}
	network := &net.Dialer{Timeout: dialTimeout, Control: boundedRetransmission}
	return &dialer{
		base: base,
		tls:  rules,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy: proxyFor, DialContext: network.DialContext, TLSClientConfig: rules,
				TLSHandshakeTimeout: answerTimeout, IdleConnTimeout: idleConnections, MaxIdleConnsPerHost: maxInFlight,
			},
			// A redirect would carry the key to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		ws: &websocket.Dialer{
			Proxy: proxyFor, NetDialContext: network.DialContext, TLSClientConfig: rules,
			HandshakeTimeout: answerTimeout,
		},
	}, nil
}

var errProxy = errors.New("HTTPS_PROXY: not a valid proxy address")

// proxyFor returns the proxy of the environment. Its address may hold a password, which the error
// of net/http would print.
func proxyFor(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if err != nil {
		return nil, errProxy
	}
	return proxy, nil
}

// errFingerprint reports that the NAS does not present the pinned certificate.
var errFingerprint = errors.New("certificate fingerprint mismatch")

// tlsRules returns the TLS configuration. A fingerprint replaces the usual verification, so that a
// NAS with a self-signed certificate is identified by exactly that certificate.
func tlsRules(cfg Config) (*tls.Config, error) {
	rules := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: cfg.InsecureSkipVerify} //nolint:gosec // The operator decides.
	if len(cfg.CA) > 0 {
		rules.RootCAs = x509.NewCertPool()
		if !rules.RootCAs.AppendCertsFromPEM(cfg.CA) {
			return nil, errors.New("ca_file: contains no PEM certificate")
		}
	}
	pin, err := parseFingerprint(cfg.Fingerprint)
	if err != nil || pin == nil {
		return rules, err
	}
	rules.InsecureSkipVerify = true
	rules.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errFingerprint
		}
		sum := sha256.Sum256(state.PeerCertificates[0].Raw)
		if subtle.ConstantTimeCompare(sum[:], pin) != 1 {
			return fmt.Errorf("%w: the NAS presents %x", errFingerprint, sum)
		}
		return nil
	}
	return rules, nil
}

// negotiate reads the API versions of the NAS; this needs no login.
func (d *dialer) negotiate(ctx context.Context) (choice, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url("/api/versions"), nil)
	if err != nil {
		return choice{}, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return choice{}, dialError(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame))
	switch {
	case err != nil:
		return choice{}, dialError(err)
	case resp.StatusCode == http.StatusNotFound:
		return choice{}, &Error{Reason: errNoJSONRPC.Error(), kind: ErrUnsupported, cause: errNoJSONRPC}
	case resp.StatusCode != http.StatusOK:
		return choice{}, unavailable("/api/versions returned "+resp.Status, nil)
	}
	var offered []string
	if err := json.Unmarshal(bytes.TrimSpace(body), &offered); err != nil {
		return choice{}, unavailable("/api/versions returned something other than a list of versions", err)
	}
	return choose(offered)
}

func (d *dialer) websocket(ctx context.Context, path string) (*websocket.Conn, error) {
	ws, resp, err := d.ws.DialContext(ctx, d.socketURL(path), nil)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close() // only the status matters
	}
	if errors.Is(err, websocket.ErrBadHandshake) && resp != nil {
		return nil, unavailable(path+" returned "+resp.Status, err)
	}
	if err != nil {
		return nil, dialError(err)
	}
	return ws, nil
}

func (d *dialer) url(path string) string { return d.base.String() + path }

func (d *dialer) socketURL(path string) string {
	u := url.URL{Scheme: "wss", Host: d.base.Host, Path: path}
	if d.base.Scheme == "http" {
		u.Scheme = "ws"
	}
	return u.String()
}

func (d *dialer) close() { d.http.CloseIdleConnections() }

// dialError distinguishes an untrusted certificate from an unreachable NAS. It drops URLs, since
// those of downloads contain a token.
func dialError(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	var verify *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	if errors.Is(err, errFingerprint) || errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid) {
		return &Error{Reason: err.Error(), kind: ErrCertificate, cause: err}
	}
	return unavailable(err.Error(), err)
}
