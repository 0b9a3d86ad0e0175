package truenas

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestPinnedCertificate checks that a pin replaces the checks of name and expiry: the certificate of the NAS has another name and
// has expired. The NAS has no API, so a client that trusts it returns "unsupported".
func TestPinnedCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"truenas.local"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	sum := sha256.Sum256(der)
	for _, tt := range []struct {
		name string
		cfg  Config
		want error
	}{
		{"a pin", Config{Fingerprint: hex.EncodeToString(sum[:])}, ErrUnsupported},
		{"its own CA", Config{CA: ca}, ErrCertificate},
		{"the system's roots", Config{}, ErrCertificate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.URL, tt.cfg.Username, tt.cfg.APIKey = server.URL, "svc", testKey
			c, err := New(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Connect(within(t, 10*time.Second)); !errors.Is(err, tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
