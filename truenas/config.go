package truenas

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Config names the NAS, the credentials and the way to verify its certificate.
type Config struct {
	// URL is https://host[:port]. Plain http:// is accepted for loopback addresses only: TrueNAS
	// revokes a key that it receives unencrypted.
	URL      string
	Username string // owner of the API key
	APIKey   string

	// CA holds PEM certificates that sign the NAS's certificate; the system's roots if empty.
	CA []byte
	// Fingerprint is the SHA-256 of the NAS's certificate in hexadecimal, with or without colons.
	// It replaces every other check of the certificate, including name and expiry.
	Fingerprint        string
	InsecureSkipVerify bool

	// PlainLogin sends the key itself even if the release offers SCRAM, for a proxy that terminates
	// TLS in front of the NAS.
	PlainLogin bool

	Logger *zap.Logger // nil: none
	Hooks  Hooks

	InFlight    int           // maximum of concurrent calls; 0 means 10, at most 20
	Keepalive   time.Duration // interval of websocket pings; 0 means 20 s; two missing pongs cut the link
	ConnectWait time.Duration // how long a call waits while the NAS is down, apart from a login in progress; 0 means 5 s
	TurnWait    time.Duration // how long a call waits for a slot while connected; 0 means 20 s
	LoginEvery  time.Duration // interval of logins while links keep breaking, after a few immediate attempts; 0 means 10 s
	Holdback    time.Duration // how long changes are held back after a link broke during one, and after the start; see holdback.go
	Linger      time.Duration // how long to wait for a change after its context has ended; 0 means 90 s, negative not at all
}

// Hooks connect metrics and traces to a client. The client calls them without holding a lock; they
// must return quickly and may be nil.
type Hooks struct {
	OnCall  func(CallInfo) // after each call, upload and download
	OnState func(Status)   // after each change of the connection, in order
	OnJob   func(Job)      // after each job that this client started or waited for
	// OnBytes receives the number of bytes of each chunk of a file: filesystem.put is an upload,
	// filesystem.get a download.
	OnBytes func(method string, bytes int)
	// Trace is called with the name of each call, upload, download and awaited job before it
	// starts. The client passes the returned context on and calls the returned function at the end.
	Trace func(ctx context.Context, name string) (context.Context, func(error))
}

// CallInfo describes a finished call.
type CallInfo struct {
	Method string
	Took   time.Duration // including the wait for a slot
	Err    error
}

const (
	defaultInFlight    = 10
	maxInFlight        = 20 // TrueNAS runs 10 calls per connection and queues 10
	defaultKeepalive   = 20 * time.Second
	defaultConnectWait = 5 * time.Second
	defaultLinger      = 90 * time.Second
)

// Validate reports all mistakes, each with the name of its setting.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.endpoint(); err != nil {
		errs = append(errs, err)
	}
	if c.Username == "" {
		errs = append(errs, errors.New("username: missing; TrueNAS requires the user name and the API key of that user"))
	}
	if err := checkKey(c.APIKey); err != nil {
		errs = append(errs, err)
	}
	if len(c.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(c.CA) {
		errs = append(errs, errors.New("ca_file: contains no PEM certificate"))
	}
	if _, err := parseFingerprint(c.Fingerprint); err != nil {
		errs = append(errs, err)
	}
	if c.InFlight < 0 || c.InFlight > maxInFlight {
		errs = append(errs, fmt.Errorf("in_flight: %d is not between 1 and %d", c.InFlight, maxInFlight))
	}
	return errors.Join(errs...)
}

// checkKey keeps the key out of its error.
func checkKey(key string) error {
	switch {
	case key == "":
		return errors.New("api_key: missing")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("api_key: contains spaces or line breaks")
	case !strings.Contains(key, "-"):
		return errors.New(`api_key: is not a TrueNAS API key (a number, "-", and the key)`)
	case len(key) > 1024:
		return errors.New("api_key: is too long for a TrueNAS API key")
	}
	return nil
}

// endpoint returns the checked base URL, without a path.
func (c Config) endpoint() (*url.URL, error) {
	if c.URL == "" {
		return nil, errors.New("url: missing; write https://host or https://host:port")
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Hostname() == "" {
		return nil, fmt.Errorf("url: %q is not an address; write https://host or https://host:port", redactURL(c.URL))
	}
	want := "https://" + u.Host
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("url: must not hold credentials; write %s and set username and api_key", want)
	case strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("url: %q has a path; write %s (the client finds the JSON-RPC endpoint itself)", redactURL(c.URL), want)
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	case u.Scheme == "http":
		return nil, fmt.Errorf("url: http:// would make TrueNAS revoke the key; write %s", want)
	default:
		return nil, fmt.Errorf("url: %s:// is not supported; write %s", u.Scheme, want)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// redactURL removes credentials from a URL.
func redactURL(raw string) string {
	if at := strings.LastIndex(raw, "@"); at >= 0 {
		return "…" + raw[at:]
	}
	if end := strings.IndexAny(raw, "?#"); end >= 0 {
		return raw[:end]
	}
	return raw
}

// parseFingerprint returns nil for an empty text.
func parseFingerprint(text string) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	sum, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(text))
	if err != nil || len(sum) != 32 {
		return nil, errors.New("fingerprint: is not a SHA-256 (64 hexadecimal digits, colons allowed)")
	}
	return sum, nil
}

func (c Config) withDefaults() Config {
	if c.InFlight == 0 {
		c.InFlight = defaultInFlight
	}
	if c.Keepalive <= 0 {
		c.Keepalive = defaultKeepalive
	}
	if c.ConnectWait <= 0 {
		c.ConnectWait = defaultConnectWait
	}
	if c.TurnWait <= 0 {
		c.TurnWait = defaultTurnWait
	}
	if c.LoginEvery <= 0 {
		c.LoginEvery = loginEvery
	}
	if c.Linger == 0 {
		c.Linger = defaultLinger
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}
