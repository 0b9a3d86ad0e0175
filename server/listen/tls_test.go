package listen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// mapText prints a map in the order of its keys.
func mapText(m map[string]any) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, fmt.Sprintf("%s=%v", key, m[key]))
	}
	return strings.Join(pairs, " ")
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	a := authority{t: t}
	a.cert, a.key, a.pem = certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	return a
}

// certificate signs a template, with its own key when there is no authority.
func certificate(t *testing.T, template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// leaf issues a certificate for servers and clients, and returns it with its key as PEM.
func (a authority) leaf(names ...string) (certPEM, keyPEM []byte) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "cluster", Path: "/manager"}},
	}
	_, key, certPEM := certificate(a.t, template, &a)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// install writes the three files for a server; clients must come from this authority too.
func (a authority) install(dir string) {
	a.t.Helper()
	certPEM, keyPEM := a.leaf("localhost")
	for name, content := range map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM, "ca.crt": a.pem} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// client makes a client's configuration that trusts the authority; without names it shows no certificate.
func (a authority) client(names ...string) *tls.Config {
	a.t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	cfg.RootCAs.AddCert(a.cert)
	if len(names) > 0 {
		pair, err := tls.X509KeyPair(a.leaf(names...))
		if err != nil {
			a.t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

// call makes one call over a new connection.
func call(t *testing.T, s *served, creds credentials.TransportCredentials) error {
	t.Helper()
	conn := dial(t, s.address, creds)
	defer func() { _ = conn.Close() }()
	_, err := providerv1.NewProviderClient(conn).Describe(within(t), &providerv1.DescribeRequest{Id: "a"})
	return err
}

func TestMutualTLS(t *testing.T) {
	ours, foreign := newAuthority(t, "ours"), newAuthority(t, "foreign")
	dir := t.TempDir()
	ours.install(dir)
	old := ours.client("manager")
	old.MaxVersion = tls.VersionTLS12
	stranger := foreign.client("manager")
	stranger.RootCAs = ours.client().RootCAs
	for _, tt := range []struct {
		name    string
		allowed []string
		client  credentials.TransportCredentials
		served  bool
	}{
		{"a certificate of the authority", nil, credentials.NewTLS(ours.client("manager")), true},
		{"no certificate", nil, credentials.NewTLS(ours.client()), false},
		{"a foreign certificate", nil, credentials.NewTLS(stranger), false},
		{"TLS 1.2", nil, credentials.NewTLS(old), false},
		{"plaintext", nil, insecure.NewCredentials(), false},
		{"an allowed name", []string{"other", "Manager"}, credentials.NewTLS(ours.client("manager")), true},
		{"an allowed URI", []string{"spiffe://cluster/manager"}, credentials.NewTLS(ours.client("x")), true},
		{"an allowed address", []string{"127.0.0.1"}, credentials.NewTLS(ours.client("x")), true},
		{"a name that is not allowed", []string{"manager"}, credentials.NewTLS(ours.client("manager.evil")), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, Config{TLSDir: dir, AllowedSANs: tt.allowed}, stub{}, nil)
			err := call(t, s, tt.client)
			if tt.served != (err == nil) {
				t.Errorf("got %v", err)
			}
			if !tt.served && status.Code(err) != codes.Unavailable {
				t.Errorf("refused with %v", err)
			}
		})
	}
}

func TestRotation(t *testing.T) {
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	dir := t.TempDir()
	before.install(dir)
	s := serve(t, Config{TLSDir: dir}, stub{}, nil)
	long := providerv1.NewProviderClient(dial(t, s.address, credentials.NewTLS(before.client("manager"))))
	if _, err := long.Describe(within(t), &providerv1.DescribeRequest{}); err != nil {
		t.Fatal(err)
	}

	// Between the three writes of a rotation the files do not match: the old ones must continue working.
	for _, name := range tlsFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := call(t, s, credentials.NewTLS(before.client("manager"))); err != nil {
			t.Errorf("with half of %s written: %v", name, err)
		}
	}

	after.install(dir)
	if err := call(t, s, credentials.NewTLS(after.client("manager"))); err != nil {
		t.Errorf("the new certificate is not used: %v", err)
	}
	if err := call(t, s, credentials.NewTLS(before.client("manager"))); err == nil {
		t.Error("the old authority is still trusted")
	}
	if _, err := long.Describe(within(t), &providerv1.DescribeRequest{}); err != nil {
		t.Errorf("the rotation broke a connection: %v", err)
	}
}

func TestTLSFiles(t *testing.T) {
	dir := func(without ...string) string {
		dir := t.TempDir()
		newAuthority(t, "ours").install(dir)
		for _, name := range without {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	broken := dir()
	if err := os.WriteFile(filepath.Join(broken, "tls.key"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	noAuthority := dir()
	if err := os.WriteFile(filepath.Join(noAuthority, "ca.crt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(broken, "tls.key")
	for _, tt := range []struct {
		name, listen, dir string
		insecure          bool
		want              string // part of the error
		plaintext         bool
	}{
		{"all three", ":9443", dir(), false, "", false},
		{"all three and plaintext allowed", ":9443", dir(), true, "", false},
		{"no key", ":9443", dir("tls.key"), false, "lacks tls.key;", false},
		{"no authority, plaintext allowed", ":9443", dir("ca.crt"), true, "lacks ca.crt;", false},
		{"only an authority, on loopback", "127.0.0.1:0", dir("tls.crt", "tls.key"), false, "lacks tls.crt and tls.key;", false},
		{"none", ":9443", t.TempDir(), false, "VIRTRIGAUD_PROVIDER_INSECURE=true", false},
		{"none and no folder", "0.0.0.0:9443", "/nowhere", false, "/nowhere has none of tls.crt, tls.key, ca.crt", false},
		{"none, plaintext allowed", ":9443", t.TempDir(), true, "", true},
		{"none, on loopback", "127.0.0.1:0", t.TempDir(), false, "", false},
		{"none, on loopback by name", "localhost:0", t.TempDir(), false, "", false},
		{"none, on loopback of version 6", "[::1]:0", t.TempDir(), false, "", false},
		{"a file in place of the folder", "127.0.0.1:0", file, true, file + "/tls.crt: not a directory", false},
		{"none, on another host", "nas:9443", t.TempDir(), false, "has none of", false},
		{"none, on loopback without a port", "127.0.0.1", t.TempDir(), false, "has none of", false},
		{"a broken key", ":9443", broken, false, "tls.crt and tls.key in " + broken, false},
		{"an empty authority", ":9443", noAuthority, false, "ca.crt in " + noAuthority + " has no certificate in PEM format", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Config{Listen: tt.listen, TLSDir: tt.dir, Insecure: tt.insecure, Logger: zap.NewNop()}
			err := cfg.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "tls.dir")) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if cfg.Plaintext() != tt.plaintext {
				t.Errorf("plaintext is not %v", tt.plaintext)
			}
		})
	}
}
