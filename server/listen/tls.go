package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// The files of a TLS folder, as Kubernetes names them in a Secret of type kubernetes.io/tls.
var tlsFiles = [3]string{"tls.crt", "tls.key", "ca.crt"}

// Validate checks the TLS folder. With all three files, clients need a certificate of that authority and TLS 1.3. With none of
// them the service is plaintext, which is allowed on a loopback address and with [Config.Insecure]. Anything else is an error,
// because a half-mounted Secret must not open an unencrypted port.
func (c Config) Validate() error {
	_, err := c.transport()
	return err
}

// transport returns the transport credentials. It loads the certificates, so that invalid ones fail at the start.
func (c Config) transport() (credentials.TransportCredentials, error) {
	missing, err := missingFiles(c.TLSDir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("tls.dir: %w", err)
	case len(missing) == 0:
		k := &keys{dir: c.TLSDir, names: c.AllowedSANs, log: c.Logger}
		if err := k.load(); err != nil {
			return nil, fmt.Errorf("tls.dir: %w", err)
		}
		return reporting{credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: k.config}), c.Logger}, nil
	case len(missing) < len(tlsFiles):
		return nil, fmt.Errorf("tls.dir: %s lacks %s; provide all of %s, or none", c.TLSDir, strings.Join(missing, " and "), strings.Join(tlsFiles[:], ", "))
	case onLoopback(c.Listen) || c.Insecure:
		return insecure.NewCredentials(), nil
	}
	return nil, fmt.Errorf("tls.dir: %s has none of %s; plaintext needs tls.insecure (VIRTRIGAUD_PROVIDER_INSECURE=true) or a loopback address",
		c.TLSDir, strings.Join(tlsFiles[:], ", "))
}

// Plaintext reports whether other machines reach the service unencrypted, which deserves a warning.
func (c Config) Plaintext() bool {
	missing, err := missingFiles(c.TLSDir)
	return err == nil && len(missing) == len(tlsFiles) && c.Insecure && !onLoopback(c.Listen)
}

func missingFiles(dir string) ([]string, error) {
	var missing []string
	for _, name := range tlsFiles {
		_, err := os.Stat(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// keys is the certificate, its key and the clients' authority. Every handshake reads them from disk, so that a rotation needs
// neither a restart nor a watcher. Handshakes are rare compared with calls.
type keys struct {
	dir   string
	names []string
	log   *zap.Logger

	mu     sync.Mutex
	pem    [3][]byte
	usable *tls.Config
	failed string // the last failure, so that it is logged once
}

// config returns the configuration for one handshake. A rotation writes three files, and a handshake may come between them:
// while the new files are invalid, the previous ones stay in use.
func (k *keys) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.load()
	switch {
	case err == nil:
		k.failed = ""
	case err.Error() != k.failed:
		k.failed = err.Error()
		k.log.Warn("invalid TLS files on disk: keeping the previous ones", zap.Error(err))
	}
	return k.usable, nil
}

func (k *keys) load() error {
	var contents [3][]byte
	for i, name := range tlsFiles {
		content, err := os.ReadFile(filepath.Join(k.dir, name))
		if err != nil {
			return err
		}
		if truncated(content) {
			return fmt.Errorf("%s in %s is truncated", name, k.dir)
		}
		contents[i] = content
	}
	if k.usable != nil && slices.EqualFunc(contents[:], k.pem[:], bytes.Equal) {
		return nil
	}
	certificate, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return fmt.Errorf("%s and %s in %s: %w", tlsFiles[0], tlsFiles[1], k.dir, err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(contents[2]) {
		return fmt.Errorf("%s in %s has no certificate in PEM format", tlsFiles[2], k.dir)
	}
	k.pem, k.usable = contents, &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{certificate},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              clients,
		VerifyConnection:       k.allowed,
		SessionTicketsDisabled: true, // a resumed session would skip the check against a new authority
	}
	return nil
}

// truncated reports whether a PEM file ends within a block, as while it is being written. The blocks before may be valid: a
// chain or a list of authorities without its last entries.
func truncated(content []byte) bool {
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			return bytes.Contains(content, []byte("-----BEGIN"))
		}
		content = rest
	}
}

// allowed checks the names in a client's certificate.
func (k *keys) allowed(state tls.ConnectionState) error {
	if len(k.names) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	has := slices.Concat(leaf.DNSNames, leaf.EmailAddresses)
	for _, ip := range leaf.IPAddresses {
		has = append(has, ip.String())
	}
	for _, uri := range leaf.URIs {
		has = append(has, uri.String())
	}
	for _, name := range has {
		if slices.ContainsFunc(k.names, func(allowed string) bool { return strings.EqualFold(allowed, name) }) {
			return nil
		}
	}
	return fmt.Errorf("client certificate: names %q; allowed are %q", has, k.names)
}

// reporting logs failed handshakes, which grpc does not.
type reporting struct {
	credentials.TransportCredentials
	log *zap.Logger
}

func (r reporting) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := r.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) { // a port check only connects and disconnects
		r.log.Warn("client refused: TLS handshake failed", zap.Stringer("address", conn.RemoteAddr()), zap.Error(err))
	}
	return secured, info, err
}

func (r reporting) Clone() credentials.TransportCredentials {
	return reporting{r.TransportCredentials.Clone(), r.log}
}
