package sim

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
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"
)

// Server serves a simulator over TLS with a self-signed certificate, as a new NAS does.
type Server struct {
	URL         string // "https://127.0.0.1:port"
	Fingerprint string // SHA-256 of the certificate, 64 hexadecimal digits
	CA          []byte // the certificate in PEM, its own authority

	http *http.Server
	done chan struct{}
}

// Serve listens at addr, such as "127.0.0.1:0" for any free port of loopback. The certificate is for 127.0.0.1, ::1 and
// localhost.
func Serve(s *Sim, addr string) (*Server, error) {
	cert, err := SelfSigned()
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	return ServeAs(s, addr, cert)
}

// ServeAs is Serve with a given certificate, such as that of an earlier run.
func ServeAs(s *Sim, addr string, cert tls.Certificate) (*Server, error) {
	if err := s.UseCertificate(cert.Certificate[0]); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(cert.Certificate[0])
	v := &Server{
		URL:         "https://" + l.Addr().String(),
		Fingerprint: hex.EncodeToString(sum[:]),
		CA:          pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		http: &http.Server{
			Handler:           s,
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          log.New(io.Discard, "", 0), // clients report failed handshakes
		},
		done: make(chan struct{}),
	}
	// A websocket needs HTTP/1.1.
	secure := tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
	go func() {
		defer close(v.done)
		_ = v.http.Serve(secure) // returns after Close
	}()
	return v, nil
}

// Close stops listening and cuts uploads and downloads. The websockets continue until Sim.Close.
func (v *Server) Close() {
	_ = v.http.Close()
	<-v.done
}

// Shutdown stops listening and waits for uploads and downloads to finish, until ctx is done.
func (v *Server) Shutdown(ctx context.Context) error {
	err := v.http.Shutdown(ctx)
	if errors.Is(err, ctx.Err()) {
		_ = v.http.Close()
	}
	<-v.done
	return err
}

// SelfSigned makes a certificate like that of [Serve], valid for a year.
func SelfSigned() (tls.Certificate, error) {
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "localhost", Organization: []string{"Simulated TrueNAS"}},
		NotBefore:    now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
