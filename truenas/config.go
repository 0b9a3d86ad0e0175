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

// Config says which NAS to talk to, as whom, and how its certificate is known.
type Config struct {
	// URL is https://host[:port]. Plain http:// is accepted for a loopback
	// address only: TrueNAS revokes a key that it receives in the clear.
	URL      string
	Username string // owner of the API key
	APIKey   string

	// CA holds PEM certificates that sign the NAS's certificate; empty means
	// the system's roots.
	CA []byte
	// Fingerprint is the SHA-256 of the NAS's certificate in hexadecimal, with
	// or without colons. It replaces every other check of the certificate: name
	// and expiry may be wrong, the key may not.
	Fingerprint        string
	InsecureSkipVerify bool

	// PlainLogin sends the key itself even where the release offers SCRAM,
	// for a proxy that terminates TLS in front of the NAS.
	PlainLogin bool

	Logger *zap.Logger // nil: none
	Hooks  Hooks

	InFlight    int           // calls on the wire at a time; 0 means 10, at most 20
	Keepalive   time.Duration // interval of websocket pings; 0 means 20 s; a pong missing for two of them cuts the link
	ConnectWait time.Duration // how long a call waits while the NAS is away; 0 means 5 s. A login under way is waited for until the call's context ends
	TurnWait    time.Duration // how long a call waits for a place in flight on a connection that is up; 0 means 20 s
	LoginEvery  time.Duration // how often it logs in when the link keeps breaking, after a few attempts at once; 0 means 10 s
	Holdback    time.Duration // how long no change is sent after a link broke under one, and after the start; see holdback.go
	Linger      time.Duration // how long a change that was sent is waited for when its context has ended; 0 means 90 s, less: not at all
}

// Hooks let metrics and traces watch a client. They are called outside every
// lock, must be quick, and may be nil.
type Hooks struct {
	OnCall  func(CallInfo) // after each call, upload and download
	OnState func(Status)   // after each change of the connection, in order
	OnJob   func(Job)      // after each job that this client began or waited for
	// OnBytes hears of the bytes of files as they pass: filesystem.put is an
	// upload, filesystem.get a download.
	OnBytes func(method string, bytes int)
	// Trace is called before each call, upload and download, and before a job is
	// waited for, which name then says; what it returns goes on with the call and
	// is called at its end.
	Trace func(ctx context.Context, name string) (context.Context, func(error))
}

// CallInfo tells a hook about a finished call.
type CallInfo struct {
	Method string
	Took   time.Duration // waiting for a place in flight included
	Err    error
}

const (
	defaultInFlight    = 10
	maxInFlight        = 20 // per connection TrueNAS runs 10 calls and lets 10 wait
	defaultKeepalive   = 20 * time.Second
	defaultConnectWait = 5 * time.Second
	defaultLinger      = 90 * time.Second
)

// Validate reports every mistake at once, each with the name of its setting.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.endpoint(); err != nil {
		errs = append(errs, err)
	}
	if c.Username == "" {
		errs = append(errs, errors.New("username: missing; an API key belongs to a user, and TrueNAS asks for both"))
	}
	if err := checkKey(c.APIKey); err != nil {
		errs = append(errs, err)
	}
	if len(c.CA) > 0 && !x509.NewCertPool().AppendCertsFromPEM(c.CA) {
		errs = append(errs, errors.New("ca_file: holds no PEM certificate"))
	}
	if _, err := parseFingerprint(c.Fingerprint); err != nil {
		errs = append(errs, err)
	}
	if c.InFlight < 0 || c.InFlight > maxInFlight {
		errs = append(errs, fmt.Errorf("in_flight: %d is not between 1 and %d", c.InFlight, maxInFlight))
	}
	return errors.Join(errs...)
}

// checkKey never repeats the key in its error.
func checkKey(key string) error {
	switch {
	case key == "":
		return errors.New("api_key: missing")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("api_key: has spaces or line breaks in it")
	case !strings.Contains(key, "-"):
		return errors.New(`api_key: is not a TrueNAS API key (a number, "-", and the key)`)
	case len(key) > 1024:
		return errors.New("api_key: is too long for a TrueNAS API key")
	}
	return nil
}

// endpoint is the checked base address, without a path.
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
		return nil, fmt.Errorf("url: %q has a path; write %s (the JSON-RPC endpoint is found by itself)", redactURL(c.URL), want)
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	case u.Scheme == "http":
		return nil, fmt.Errorf("url: http:// would make TrueNAS revoke the key; write %s", want)
	default:
		return nil, fmt.Errorf("url: %s:// is not understood; write %s", u.Scheme, want)
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

// redactURL drops what a URL may hold of credentials.
func redactURL(raw string) string {
	if at := strings.LastIndex(raw, "@"); at >= 0 {
		return "…" + raw[at:]
	}
	if end := strings.IndexAny(raw, "?#"); end >= 0 {
		return raw[:end]
	}
	return raw
}

// parseFingerprint returns nil for the empty text.
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
