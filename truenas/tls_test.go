package truenas_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

// issuer signs certificates.
type issuer struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t testing.TB, name string) *issuer {
	t.Helper()
	i := &issuer{t: t}
	der, key := i.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	i.cert, i.key = cert, key
	return i
}

// sign makes a certificate that is valid for an hour, unless the template sets other times. A nil issuer signs the certificate
// with its own key.
func (i *issuer) sign(form *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	form.SerialNumber = big.NewInt(time.Now().UnixNano())
	if form.NotAfter.IsZero() {
		form.NotBefore, form.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := form, key
	if i.cert != nil {
		parent, signer = i.cert, i.key
	}
	der, err := x509.CreateCertificate(rand.Reader, form, parent, key.Public(), signer)
	if err != nil {
		i.t.Fatal(err)
	}
	return der, key
}

func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

func pinOf(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// nasWith is a simulated NAS with a certificate, which records the data it receives. It listens on 127.0.0.1.
func nasWith(t *testing.T, der []byte, key *ecdsa.PrivateKey, rules *tls.Config, handlers ...func(http.Handler) http.Handler) (address string, asked func() string) {
	t.Helper()
	nas, err := sim.New(sim.Config{Release: "25.10"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nas.Close)
	var mu sync.Mutex
	var seen strings.Builder
	var handler http.Handler = nas
	for _, wrap := range handlers {
		handler = wrap(handler)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head, err := httputil.DumpRequest(r, false)
		mu.Lock()
		seen.Write(head)
		mu.Unlock()
		if err == nil {
			handler.ServeHTTP(w, r)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if rules == nil {
		rules = &tls.Config{}
	}
	rules.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	server.TLS = rules
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, func() string {
		mu.Lock()
		defer mu.Unlock()
		return seen.String()
	}
}

// TestCertificateMatrix connects to a NAS with every kind of certificate. The client sends no requests to an untrusted NAS.
func TestCertificateMatrix(t *testing.T) {
	ours, foreign, none := newIssuer(t, "ours"), newIssuer(t, "foreign"), &issuer{t: t}
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	day := 24 * time.Hour
	for _, tt := range []struct {
		name  string
		by    *issuer
		form  x509.Certificate
		rules *tls.Config
		cfg   func(der []byte) truenas.Config
		want  string // part of the error; empty: the client connects
	}{
		{name: "of the authority", by: ours, form: x509.Certificate{IPAddresses: here}, cfg: trusting(ours)},
		{name: "of another authority", by: foreign, form: x509.Certificate{IPAddresses: here}, cfg: trusting(ours), want: "unknown authority"},
		{name: "of an authority that the system does not know", by: ours, form: x509.Certificate{IPAddresses: here}, cfg: trusting(nil), want: "certificate"},
		{name: "of another name", by: ours, form: x509.Certificate{DNSNames: []string{"other.example"}}, cfg: trusting(ours), want: "127.0.0.1"},
		{name: "of another address", by: ours, form: x509.Certificate{IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}, cfg: trusting(ours), want: "127.0.0.1"},
		{name: "expired", by: ours, form: x509.Certificate{IPAddresses: here, NotBefore: time.Now().Add(-2 * day), NotAfter: time.Now().Add(-day)}, cfg: trusting(ours), want: "expired"},
		{name: "not valid yet", by: ours, form: x509.Certificate{IPAddresses: here, NotBefore: time.Now().Add(day), NotAfter: time.Now().Add(2 * day)}, cfg: trusting(ours), want: "not yet valid"},
		{name: "for clients only", by: ours, form: x509.Certificate{IPAddresses: here, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, cfg: trusting(ours), want: "incompatible key usage"},
		{name: "signed by itself, without a pin", by: none, form: x509.Certificate{IPAddresses: here}, cfg: trusting(nil), want: "certificate"},
		{name: "signed by itself, and pinned", by: none, form: x509.Certificate{DNSNames: []string{"other.example"}}, cfg: pinning(nil)},
		{name: "another one than is pinned", by: ours, form: x509.Certificate{IPAddresses: here}, cfg: pinning(foreign.cert.Raw), want: "fingerprint"},
		{name: "the authority is pinned", by: ours, form: x509.Certificate{IPAddresses: here}, cfg: pinning(ours.cert.Raw), want: "fingerprint"},
		{name: "another one than is pinned, and verification off", by: ours, form: x509.Certificate{IPAddresses: here}, cfg: careless(pinning(foreign.cert.Raw)), want: "fingerprint"},
		{name: "any, and verification off", by: foreign, form: x509.Certificate{}, cfg: careless(trusting(nil))},
		{name: "over TLS 1.1", by: ours, form: x509.Certificate{IPAddresses: here}, rules: &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, cfg: trusting(ours), want: "protocol version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			der, key := tt.by.sign(&tt.form)
			address, asked := nasWith(t, der, key, tt.rules)
			cfg := tt.cfg(der)
			cfg.URL, cfg.Username, cfg.APIKey = address, sim.DefaultUser, sim.DefaultAPIKey
			err := connects(t, cfg)
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, truenas.ErrCertificate) && tt.rules == nil {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if asked() != "" {
				t.Errorf("the NAS received\n%s", asked())
			}
		})
	}
}

func trusting(by *issuer) func([]byte) truenas.Config {
	return func([]byte) truenas.Config {
		if by == nil {
			return truenas.Config{}
		}
		return truenas.Config{CA: by.pem()}
	}
}

// pinning pins the given certificate, or the right one if it is nil.
func pinning(other []byte) func([]byte) truenas.Config {
	return func(der []byte) truenas.Config {
		if other != nil {
			der = other
		}
		return truenas.Config{Fingerprint: pinOf(der)}
	}
}

func careless(of func([]byte) truenas.Config) func([]byte) truenas.Config {
	return func(der []byte) truenas.Config {
		cfg := of(der)
		cfg.InsecureSkipVerify = true
		return cfg
	}
}

func connects(t *testing.T, cfg truenas.Config) error {
	t.Helper()
	c, err := truenas.New(cfg)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = c.System.Version(ctx)
	return err
}
