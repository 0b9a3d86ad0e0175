package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// transport returns the credentials for backends over the network: TLS with certificates in the layout of VirtRigaud's manager.
func (o *options) transport() (credentials.TransportCredentials, error) {
	if o.plaintext {
		return insecure.NewCredentials(), nil
	}
	rules, err := clientRules(o.tlsDir)
	if err != nil {
		return nil, err
	}
	first := credentials.NewTLS(rules)
	return &rotating{TransportCredentials: first, dir: o.tlsDir, last: first}, nil
}

// clientRules reads the folder of certificates.
func clientRules(dir string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("--provider-tls-dir: %w; --provider-insecure calls providers unencrypted", err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("--provider-tls-dir: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--provider-tls-dir: ca.crt in %s holds no certificate in PEM format", dir)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: authorities, Certificates: []tls.Certificate{pair}}, nil
}

// rotating reads the folder again for every connection, so that new certificates and authorities apply without a restart. If they
// are unreadable, such as during an update, it keeps the last ones.
type rotating struct {
	credentials.TransportCredentials // those at the start
	dir                              string

	mu   sync.Mutex
	last credentials.TransportCredentials // last readable ones
}

func (r *rotating) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.current().ClientHandshake(ctx, authority, conn)
}

func (r *rotating) current() credentials.TransportCredentials {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rules, err := clientRules(r.dir); err == nil {
		r.last = credentials.NewTLS(rules)
	}
	return r.last
}

// Clone returns credentials that read the same folder.
func (r *rotating) Clone() credentials.TransportCredentials {
	return &rotating{TransportCredentials: r.TransportCredentials.Clone(), dir: r.dir, last: r.current()}
}
