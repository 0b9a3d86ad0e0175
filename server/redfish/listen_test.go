package redfish

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

// writePair writes a certificate with a serial number, and its key.
func writePair(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "bmc"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: certificate}, "tls.key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// serialOf connects and returns the serial number of the certificate.
func serialOf(t *testing.T, address string) int64 {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // The test only reads the certificate.
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // Nothing was written.
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, 1)
	ctx, stop := context.WithCancel(t.Context())
	listening, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, Listener{Address: "127.0.0.1:0", TLSDir: dir, Logger: zap.NewNop(), Listening: func(a net.Addr) { listening <- a }}, http.NotFoundHandler())
	}()
	var address string
	select {
	case a := <-listening:
		address = a.String()
	case err := <-ended:
		t.Fatal(err)
	}
	if serial := serialOf(t, address); serial != 1 {
		t.Errorf("certificate %d", serial)
	}
	writePair(t, dir, 2)
	if serial := serialOf(t, address); serial != 2 {
		t.Errorf("certificate %d after a rotation", serial)
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial := serialOf(t, address); serial != 2 {
		t.Errorf("certificate %d while the files are invalid", serial)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestListenerValidate(t *testing.T) {
	full, half := t.TempDir(), t.TempDir()
	writePair(t, full, 1)
	writePair(t, half, 1)
	broken := t.TempDir()
	writePair(t, broken, 1)
	if err := errors.Join(os.Remove(filepath.Join(half, "tls.key")), os.WriteFile(filepath.Join(broken, "tls.key"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		l         Listener
		ok, plain bool
	}{
		{"TLS", Listener{Address: ":8443", TLSDir: full}, true, false},
		{"a broken pair", Listener{Address: "127.0.0.1:8443", TLSDir: broken, Insecure: true}, false, false},
		{"half a pair", Listener{Address: "127.0.0.1:8443", TLSDir: half}, false, false},
		{"plaintext on loopback", Listener{Address: "127.0.0.1:8443", TLSDir: t.TempDir()}, true, false},
		{"plaintext on loopback by name", Listener{Address: "localhost:8443", TLSDir: t.TempDir()}, true, false},
		{"plaintext on loopback of version 6", Listener{Address: "[::1]:8443", TLSDir: t.TempDir()}, true, false},
		{"plaintext on an address without a port", Listener{Address: "127.0.0.1", TLSDir: t.TempDir()}, false, false},
		{"plaintext on another host", Listener{Address: "nas:8443", TLSDir: t.TempDir()}, false, false},
		{"plaintext", Listener{Address: ":8443", TLSDir: t.TempDir()}, false, false},
		{"plaintext as requested", Listener{Address: ":8443", TLSDir: t.TempDir(), Insecure: true}, true, true},
	} {
		tt.l.Logger = zap.NewNop()
		if err := tt.l.Validate(); (err == nil) != tt.ok || tt.l.Plaintext() != tt.plain {
			t.Errorf("%s: %v, plaintext %t", tt.name, err, tt.l.Plaintext())
		}
	}
}

// Without a certificate the service is plaintext on loopback. What cannot be served is an error.
func TestServePlaintext(t *testing.T) {
	half := t.TempDir()
	if err := os.WriteFile(filepath.Join(half, "tls.crt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), Listener{Address: "127.0.0.1:0", TLSDir: half, Logger: zap.NewNop()}, nil); err == nil || !strings.Contains(err.Error(), "tls.key") {
		t.Errorf("half a pair: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	listening, ended := make(chan string, 1), make(chan error, 1)
	l := Listener{Address: "127.0.0.1:0", TLSDir: t.TempDir(), Logger: zap.NewNop(), Listening: func(a net.Addr) { listening <- a.String() }}
	go func() { ended <- Serve(ctx, l, http.NotFoundHandler()) }()
	l.Address = <-listening
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("%d", resp.StatusCode)
	}
	if err := Serve(t.Context(), l, nil); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("an address in use: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Connections beyond the limit are closed, and the end of one admits another.
func TestConnectionsAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &limitedListener{Listener: inner, free: make(chan struct{}, 1)}
	defer l.Close() //nolint:errcheck // The test is over.
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("a connection beyond the limit was served")
	}
	_, _ = first.Close(), first.Close()
	dial()
	_ = (<-accepted).Close()
}
