package truenas_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

// eavesdropper listens in plain text and never replies.
func eavesdropper(t *testing.T) (address string, heard func() []byte) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all bytes.Buffer
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
				buffer := make([]byte, 4096)
				n, _ := conn.Read(buffer)
				mu.Lock()
				all.Write(buffer[:n])
				mu.Unlock()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n[\"v25.10.1\"]\n")
			})
		}
	})
	t.Cleanup(func() { listener.Close(); wait.Wait() })
	return listener.Addr().String(), func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Clone(all.Bytes())
	}
}

// TestNoDowngrade redirects a client to plain text in all known ways. The client never sends the key there.
func TestNoDowngrade(t *testing.T) {
	by := newIssuer(t, "ours")
	_, secret, _ := strings.Cut(sim.DefaultAPIKey, "-")
	t.Run("an address without TLS", func(t *testing.T) {
		for _, address := range []string{"http://nas.example", "ws://nas.example", "http://192.0.2.1", "http://127.0.0.1.example"} {
			if _, err := truenas.New(truenas.Config{URL: address, Username: "u", APIKey: sim.DefaultAPIKey}); err == nil {
				t.Errorf("%s is accepted", address)
			}
		}
	})
	t.Run("plain text instead of TLS", func(t *testing.T) {
		address, heard := eavesdropper(t)
		err := connects(t, truenas.Config{URL: "https://" + address, Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, CA: by.pem(), ConnectWait: time.Second})
		if err == nil || bytes.Contains(heard(), []byte(secret)) || bytes.Contains(heard(), []byte("GET ")) {
			t.Errorf("%v; heard %q", err, heard())
		}
	})
	for _, path := range []string{"/api/versions", "/api/v25.10", "/_upload"} {
		t.Run("a redirect of "+path+" to plain text", func(t *testing.T) {
			eve, heard := eavesdropper(t)
			der, key := by.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
			address, asked := nasWith(t, der, key, nil, func(nas http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, path) {
						_, _ = io.Copy(io.Discard, r.Body)
						http.Redirect(w, r, "http://"+eve+r.URL.Path, http.StatusTemporaryRedirect)
						return
					}
					nas.ServeHTTP(w, r)
				})
			})
			c, err := truenas.New(truenas.Config{URL: address, Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, CA: by.pem(), ConnectWait: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if err := c.Files.Put(ctx, "/mnt/tank/x", 0o600, strings.NewReader("x"), 1, nil); err == nil || !strings.Contains(asked(), path) {
				t.Errorf("%v; asked was\n%s", err, asked())
			}
			if len(heard()) > 0 {
				t.Errorf("the redirect was followed: %q", heard())
			}
		})
	}
}
