package truenas

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"
)

// A Certificate is the TLS certificate that a NAS presents, before any login.
type Certificate struct {
	Address     string // the address dialled, such as "192.0.2.10:443"
	Fingerprint string // SHA-256 in the form of [Config.Fingerprint]; empty without TLS
	Subject     string
	Names       []string // host names and addresses for which it is valid
	NotAfter    time.Time
	SelfSigned  bool
	Distrust    error // why the configuration rejects it, or nil
}

// Certificate fetches the certificate of the NAS, trusted or not. It sends neither user name nor
// key.
func (c Config) Certificate(ctx context.Context) (Certificate, error) {
	rules, err := tlsRules(c)
	if err != nil {
		return Certificate{}, err
	}
	blind := c
	blind.InsecureSkipVerify, blind.Fingerprint = true, ""
	d, err := newDialer(blind)
	if err != nil {
		return Certificate{}, err
	}
	defer d.close()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+answerTimeout)
	defer cancel()
	seen := Certificate{}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		seen.Address = i.Conn.RemoteAddr().String()
	}})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url("/api/versions"), nil)
	if err != nil {
		return Certificate{}, err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return Certificate{}, dialError(err)
	}
	_ = resp.Body.Close()
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		seen.describe(d.base, resp.TLS, rules)
	}
	return seen, nil
}

func (c *Certificate) describe(base *url.URL, state *tls.ConnectionState, rules *tls.Config) {
	leaf := state.PeerCertificates[0]
	c.Fingerprint = colons(sha256.Sum256(leaf.Raw))
	c.Subject, c.NotAfter = leaf.Subject.String(), leaf.NotAfter
	c.Names = append(c.Names, leaf.DNSNames...)
	for _, ip := range leaf.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	c.SelfSigned = leaf.CheckSignatureFrom(leaf) == nil || string(leaf.RawIssuer) == string(leaf.RawSubject)
	switch {
	case rules.VerifyConnection != nil:
		c.Distrust = rules.VerifyConnection(*state)
	case !rules.InsecureSkipVerify:
		c.Distrust = verify(base.Hostname(), state.PeerCertificates, rules.RootCAs)
	}
}

// verify repeats the verification of the TLS library.
func verify(host string, chain []*x509.Certificate, roots *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between})
	return err
}

// colons formats a fingerprint in the usual notation.
func colons(sum [sha256.Size]byte) string {
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}
