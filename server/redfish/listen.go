package redfish

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
)

// The limits of connections.
const (
	maxConnections = 256
	maxHeader      = 16 << 10
	headerTimeout  = 10 * time.Second
	readTimeout    = 30 * time.Second
	writeTimeout   = requestTimeout + 10*time.Second
	idleTimeout    = time.Minute
	grace          = 10 * time.Second // for requests in flight at the end of the service
)

// Listener is the address and the TLS setup of a service.
type Listener struct {
	Address string // host:port
	// TLSDir holds tls.crt and tls.key. Clients need no certificate. Without both files the service is unencrypted, which requires
	// a loopback address or Insecure.
	TLSDir   string
	Insecure bool
	Logger   *zap.Logger
	// Listening, when set, is called once with the address in use.
	Listening func(net.Addr)
}

// Plaintext reports whether passwords would travel unencrypted to other machines.
func (l Listener) Plaintext() bool {
	config, err := l.transport()
	return err == nil && config == nil && !onLoopback(l.Address)
}

// Validate checks the address and the certificate.
func (l Listener) Validate() error {
	_, err := l.transport()
	return err
}

// transport returns nil for plaintext.
func (l Listener) transport() (*tls.Config, error) {
	pair := &keyPair{certificate: filepath.Join(l.TLSDir, "tls.crt"), key: filepath.Join(l.TLSDir, "tls.key"), log: l.Logger}
	_, noCertificate := os.Stat(pair.certificate)
	_, noKey := os.Stat(pair.key)
	switch absent := errors.Is(noCertificate, os.ErrNotExist) && errors.Is(noKey, os.ErrNotExist); {
	case !absent:
		if err := pair.load(); err != nil {
			return nil, fmt.Errorf("redfish: %w", err)
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.current, NextProtos: []string{"h2", "http/1.1"}}, nil
	case onLoopback(l.Address) || l.Insecure:
		return nil, nil
	}
	return nil, fmt.Errorf("redfish: %s has neither tls.crt nor tls.key; the service is offered unencrypted only on a loopback address or with tls.insecure", l.TLSDir)
}

// keyPair is a certificate that is read again for a handshake when its files changed, so that a rotation needs no restart.
type keyPair struct {
	certificate, key string
	log              *zap.Logger

	mu     sync.Mutex
	usable *tls.Certificate
	stamp  string
}

func (k *keyPair) load() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	stamp, err := stampOf(k.certificate, k.key)
	if err != nil || stamp == k.stamp {
		return err
	}
	pair, err := tls.LoadX509KeyPair(k.certificate, k.key)
	if err != nil {
		return err
	}
	k.usable, k.stamp = &pair, stamp
	return nil
}

// stampOf returns a value that changes with each of the files.
func stampOf(files ...string) (string, error) {
	stamp := ""
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return "", err
		}
		stamp += fmt.Sprintf("%d/%d ", info.ModTime().UnixNano(), info.Size())
	}
	return stamp, nil
}

// current returns the certificate for a handshake. While new files are invalid the old certificate stays in use, because a rotation
// writes two files.
func (k *keyPair) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if err := k.load(); err != nil {
		k.log.Warn("invalid TLS files of the Redfish service: keeping the previous ones", zap.Error(err))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.usable, nil
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Serve serves a service until ctx ends, and then waits for requests in flight.
func Serve(ctx context.Context, l Listener, handler http.Handler) error {
	secured, err := l.transport()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", l.Address)
	if err != nil {
		return fmt.Errorf("redfish: %w", err)
	}
	server := &http.Server{
		Handler: handler, TLSConfig: secured, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(io.Discard, "", 0), // A port scan would log a failed handshake each time.
	}
	if l.Listening != nil {
		l.Listening(listener.Addr())
	}
	limited := &limitedListener{Listener: listener, free: make(chan struct{}, maxConnections)}
	ended := make(chan error, 1)
	go func() {
		if secured != nil {
			ended <- server.ServeTLS(limited, "", "")
		} else {
			ended <- server.Serve(limited)
		}
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("redfish: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		_ = server.Close()
	}
	<-ended //nolint:errcheck // It is the error of a closed server.
	return nil
}

// limitedListener closes connections beyond a limit, so that waiting clients do not starve the connected ones.
type limitedListener struct {
	net.Listener
	free chan struct{}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { <-l.free })}, nil
		default:
			_ = conn.Close()
		}
	}
}

type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
