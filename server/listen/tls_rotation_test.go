package listen

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// TestClientCertificates presents certificates to a server that must refuse them.
func TestClientCertificates(t *testing.T) {
	ours := newAuthority(t, "ours")
	dir := t.TempDir()
	ours.install(dir)
	day := 24 * time.Hour
	for _, tt := range []struct {
		name string
		form x509.Certificate
		ok   bool
	}{
		{"a good one", x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true},
		{"an expired one", x509.Certificate{NotBefore: time.Now().Add(-2 * day), NotAfter: time.Now().Add(-day)}, false},
		{"one that is not valid yet", x509.Certificate{NotBefore: time.Now().Add(day), NotAfter: time.Now().Add(2 * day)}, false},
		{"one for servers only", x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			core, log := observer.New(zap.WarnLevel)
			s := serve(t, Config{TLSDir: dir, Logger: zap.New(core)}, stub{}, nil)
			tt.form.Subject = pkix.Name{CommonName: "manager"}
			cert, key, _ := certificate(t, &tt.form, &ours)
			cfg := ours.client()
			cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
			err := call(t, s, credentials.NewTLS(cfg))
			if tt.ok != (err == nil) || !tt.ok && status.Code(err) != codes.Unavailable {
				t.Errorf("answered %v", err)
			}
			// Over TLS 1.3 a client has completed its handshake before the server checks its certificate.
			for end := time.Now().Add(30 * time.Second); !tt.ok && log.FilterMessage("client refused: TLS handshake failed").Len() == 0; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the log does not report the refused client")
				}
			}
		})
	}
}

// manager is a client that gets new certificates while it calls.
type manager struct {
	cfg atomic.Pointer[tls.Config]
}

// trusts gives the manager a certificate of one authority, and makes it trust all of them.
func (m *manager) trusts(own authority, others ...authority) {
	cfg := own.client("manager")
	for _, a := range others {
		cfg.RootCAs.AddCert(a.cert)
	}
	m.cfg.Store(cfg)
}

// TestRotationUnderLoad replaces certificates and authorities repeatedly, as a careful operator does without losing a call: the new
// authority beside the old one, then the certificates, then the removal of the old authority. Files are written in pieces.
func TestRotationUnderLoad(t *testing.T) {
	const rounds, callers = 6, 4
	dir := t.TempDir()
	old := newAuthority(t, "first")
	old.install(dir)
	s := serve(t, Config{TLSDir: dir}, stub{}, nil)
	var m manager
	m.trusts(old)

	var calls [callers]atomic.Int64
	var failed atomic.Int64
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			long := providerv1.NewProviderClient(dial(t, s.address, credentials.NewTLS(m.cfg.Load())))
			for {
				select {
				case <-stop:
					return
				default:
				}
				var err error
				if i%2 == 0 {
					err = call(t, s, credentials.NewTLS(m.cfg.Load())) // over a new connection
				} else {
					_, err = long.Describe(within(t), &providerv1.DescribeRequest{Id: "a"})
				}
				calls[i].Add(1)
				if err != nil && failed.Add(1) < 5 {
					t.Errorf("a call failed: %v", err)
				}
			}
		})
	}
	for range rounds {
		next := newAuthority(t, "next")
		inPieces(t, dir, "ca.crt", append(append([]byte{}, old.pem...), next.pem...))
		m.trusts(old, next) // It still presents the old certificate, and would trust a server's new one.
		after(calls[:])
		certPEM, keyPEM := next.leaf("localhost")
		inPieces(t, dir, "tls.crt", certPEM)
		inPieces(t, dir, "tls.key", keyPEM)
		m.trusts(next, old)
		after(calls[:])
		inPieces(t, dir, "ca.crt", next.pem)
		m.trusts(next)
		after(calls[:])
		old = next
	}
	close(stop)
	wait.Wait()
	var all int64
	for i := range calls {
		all += calls[i].Load()
	}
	t.Logf("%d calls during %d rotations, %d failed", all, rounds, failed.Load())
	if err := call(t, s, credentials.NewTLS(newAuthority(t, "foreign").client("manager"))); err == nil {
		t.Error("after all that, a stranger is let in")
	}
}

// after waits until every caller has begun and completed a call, so that none uses an earlier configuration.
func after(calls []atomic.Int64) {
	for i := range calls {
		for end := calls[i].Load() + 2; calls[i].Load() < end; time.Sleep(time.Millisecond) {
		}
	}
}

// inPieces writes a file as a slow editor does: empty, then half, then complete.
func inPieces(t *testing.T, dir, name string, content []byte) {
	t.Helper()
	for _, n := range []int{0, len(content) / 3, len(content) - 10, len(content)} {
		if err := os.WriteFile(filepath.Join(dir, name), content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Millisecond) // so that some handshake reads exactly this
	}
}

// Invalid files are reported once, and again when they return after valid ones. The previous ones stay in use meanwhile.
func TestInvalidFilesAreReportedOnce(t *testing.T) {
	dir := t.TempDir()
	ours := newAuthority(t, "ours")
	ours.install(dir)
	core, log := observer.New(zap.WarnLevel)
	k := &keys{dir: dir, log: zap.New(core)}
	if err := k.load(); err != nil {
		t.Fatal(err)
	}
	remove := func() { _ = os.Remove(filepath.Join(dir, "tls.key")) }
	half := func() { _ = os.WriteFile(filepath.Join(dir, "tls.key"), []byte("-----BEGIN"), 0o600) }
	for i, tt := range []struct {
		change func()
		want   int // lines in the log
	}{{func() {}, 0}, {remove, 1}, {func() {}, 1}, {half, 2}, {func() {}, 2}, {func() { ours.install(dir) }, 2}, {half, 3}} {
		tt.change()
		usable, err := k.config(nil)
		if err != nil || len(usable.Certificates) != 1 || log.Len() != tt.want {
			t.Errorf("step %d: %v, and the log has %d lines, want %d", i, err, log.Len(), tt.want)
		}
	}
}

// TestPartialFiles: a partial list of authorities is readable, and must not be used.
func TestPartialFiles(t *testing.T) {
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	both := append(append([]byte{}, first.pem...), second.pem...)
	for _, tt := range []struct {
		name string
		n    int
		want bool
	}{
		{"nothing", 0, false}, // which is refused for holding no certificate
		{"all", len(both), false},
		{"half of the first", len(first.pem) / 2, true},
		{"the first and a little", len(first.pem) + 15, true},
		{"all but the last line", len(both) - 20, true},
		{"the first", len(first.pem), false}, // which looks like a complete file
	} {
		if got := truncated(both[:tt.n]); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if truncated([]byte("a comment\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"})))) {
		t.Error("a comment counts as half a block")
	}
}
