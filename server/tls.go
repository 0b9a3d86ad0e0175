package server

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

// Validate looks at the TLS folder. All three files mean that clients must show a certificate of that authority, and
// nothing older than TLS 1.3. None of them means plaintext, which is allowed on a loopback address and where it is asked
// for. Anything else is a mistake, since a half-mounted Secret must not turn into an open port.
func (c ServeConfig) Validate() error {
	_, err := c.transport()
	return err
}

// transport returns what secures connections. It loads the certificates, so that broken ones are noticed at the start.
func (c ServeConfig) transport() (credentials.TransportCredentials, error) {
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
		return nil, fmt.Errorf("tls.dir: %s lacks %s; give all of %s, or none", c.TLSDir, strings.Join(missing, " and "), strings.Join(tlsFiles[:], ", "))
	case onLoopback(c.Listen) || c.Insecure:
		return insecure.NewCredentials(), nil
	}
	return nil, fmt.Errorf("tls.dir: %s has none of %s; only with tls.insecure (VIRTRIGAUD_PROVIDER_INSECURE=true) or on a loopback address is the service offered unencrypted",
		c.TLSDir, strings.Join(tlsFiles[:], ", "))
}

// Plaintext says whether the service is offered unencrypted to other machines, which deserves a warning.
func (c ServeConfig) Plaintext() bool {
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

// keys is the certificate, its key and the clients' authority. They are read again for every handshake, which is rare
// beside the calls, so that a rotation needs neither a restart nor a watcher.
type keys struct {
	dir   string
	names []string
	log   *zap.Logger

	mu     sync.Mutex
	pem    [3][]byte
	usable *tls.Config
	failed string // the last failure, so that it is logged once
}

// config is asked by every handshake. While new files cannot be used the old ones stay: a rotation writes three files, and
// a handshake may come between them.
func (k *keys) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.load()
	switch {
	case err == nil:
		k.failed = ""
	case err.Error() != k.failed:
		k.failed = err.Error()
		k.log.Warn("the TLS files on disk cannot be used; the ones before stay", zap.Error(err))
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
		if cutOff(content) {
			return fmt.Errorf("%s in %s ends in the middle of a block", name, k.dir)
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
		return fmt.Errorf("%s in %s holds no certificate in PEM format", tlsFiles[2], k.dir)
	}
	k.pem, k.usable = contents, &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{certificate},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              clients,
		VerifyConnection:       k.allowed,
		SessionTicketsDisabled: true, // a resumed session would be spared the check against a new authority
	}
	return nil
}

// cutOff tells a file that is being written: what of it is there may be understood, as a chain or a list of authorities
// that lacks the last ones.
func cutOff(content []byte) bool {
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			return bytes.Contains(content, []byte("-----BEGIN"))
		}
		content = rest
	}
}

// allowed compares the names in a client's certificate with those allowed.
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
	return fmt.Errorf("none of the certificate's names %q is among the allowed %q", has, k.names)
}

// reporting logs the handshakes that fail, which grpc keeps to itself.
type reporting struct {
	credentials.TransportCredentials
	log *zap.Logger
}

func (r reporting) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := r.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) { // a port check only connects and leaves
		r.log.Warn("a client was refused", zap.Stringer("address", conn.RemoteAddr()), zap.Error(err))
	}
	return secured, info, err
}

func (r reporting) Clone() credentials.TransportCredentials {
	return reporting{r.TransportCredentials.Clone(), r.log}
}
