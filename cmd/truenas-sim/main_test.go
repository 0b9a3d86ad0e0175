package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"virtrigaud-provider-truenas/cmd/internal/program"
)

// buffer allows concurrent writes and reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func none(string) (string, bool) { return "", false }

// start runs truenas-sim until stop is called.
func start(t *testing.T, args ...string) (out string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr buffer
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, append([]string{"--listen", "127.0.0.1:0"}, args...), none, &stdout, &stderr)
	}()
	for !strings.Contains(stdout.String(), "username: ") {
		select {
		case err := <-done:
			t.Fatalf("the program ended early: %v %s", err, stderr.String())
		case <-time.After(time.Millisecond):
		}
	}
	return stdout.String(), func() error {
		cancel()
		return <-done
	}
}

func value(t *testing.T, out, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + `: (.+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("%s is missing in %s", name, out)
	}
	return m[1]
}

// pinned trusts only the certificate with the fingerprint.
func pinned(fingerprint string) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, // The fingerprint is compared instead.
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if sum := sha256.Sum256(raw[0]); hex.EncodeToString(sum[:]) != fingerprint {
				return errors.New("another certificate")
			}
			return nil
		},
	}
}

func TestServe(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("5-secretsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	transcript := filepath.Join(dir, "transcript")
	out, stop := start(t, "--release", "26", "--api-key-file", key, "--username", "svc", "--pool", "fast=2T", "--transcript", transcript)
	if strings.Contains(out, "secretsecret") {
		t.Error("the key is printed")
	}
	config := pinned(value(t, out, "fingerprint"))
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	res, err := client.Get(value(t, out, "url") + "/api/versions")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()

	d := websocket.Dialer{TLSClientConfig: config}
	conn, _, err := d.Dial("wss"+strings.TrimPrefix(value(t, out, "url"), "https")+"/api/current", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, tt := range []struct{ method, params, want string }{
		{"auth.login_ex", `[{"mechanism":"API_KEY_PLAIN","username":"svc","api_key":"5-secretsecret"}]`, `SUCCESS`},
		{"pool.query", `[]`, `"fast"`},
	} {
		request := `{"jsonrpc":"2.0","id":1,"method":"` + tt.method + `","params":` + tt.params + `}`
		if err := conn.WriteMessage(websocket.TextMessage, []byte(request)); err != nil {
			t.Fatal(err)
		}
		if _, reply, err := conn.ReadMessage(); err != nil || !strings.Contains(string(reply), tt.want) {
			t.Errorf("%s: %s %v", tt.method, reply, err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(transcript)
	if err != nil || strings.Count(string(b), "\n") != 2 || strings.Contains(string(b), "secretsecret") {
		t.Errorf("the transcript: %s %v", b, err)
	}
}

func TestStateIsKept(t *testing.T) {
	state := filepath.Join(t.TempDir(), "nas.json")
	_, stop := start(t, "--state", state, "--pool", "first=1G")
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(state); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, stop = start(t, "--state", state, "--pool", "second=1G")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(state)
	if err != nil || !strings.Contains(string(b), `"first"`) || strings.Contains(string(b), `"second"`) {
		t.Errorf("the state: %s %v", b, err)
	}
	if left, err := os.ReadDir(filepath.Dir(state)); err != nil || len(left) != 1 {
		t.Errorf("other files beside the state: %v %v", left, err)
	}
	if err := os.WriteFile(state, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"--state", state}, none, &buffer{}, &buffer{}); err == nil || !strings.Contains(err.Error(), "nas.json") {
		t.Errorf("a broken file: %v", err)
	}
}

func TestTheCertificateIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nas.pem")
	var seen []string
	for range 2 {
		out, stop := start(t, "--certificate", file)
		seen = append(seen, value(t, out, "fingerprint"))
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	if seen[0] != seen[1] {
		t.Errorf("another fingerprint after a restart: %s", seen)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"--certificate", file}, none, &buffer{}, &buffer{}); err == nil || !strings.Contains(err.Error(), "--certificate") {
		t.Errorf("a broken file: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct{ name, args, want string }{
		{"an unknown flag", "--relaese 26", "unknown flag"},
		{"an argument", "26", `unknown command "26"`},
		{"an unknown release", "--release 24.10", "24.10"},
		{"a pool without a size", "--pool tank", "name=size"},
		{"a size without sense", "--pool tank=1Q", "not a size"},
		{"a size too large", "--pool tank=9999999P", "not a size"},
		{"an invalid key", "--api-key secret", "<id>-<secret>"},
		{"an unknown hypervisor", "--hypervisor xen", "want memory or qemu"},
		{"an uplink without guests", "--uplink br0", "--uplink needs --hypervisor qemu"},
		{"two keys", "--api-key 1-a --api-key-file x", "exclude each other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := run(t.Context(), strings.Fields(tt.args), none, &buffer{}, &buffer{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || program.ExitCode(err) != 2 {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := run(t.Context(), []string{"--api-key-file", "/none"}, none, &buffer{}, &buffer{}); err == nil || program.ExitCode(err) != 1 {
		t.Errorf("a missing key file: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := run(t.Context(), []string{"--hypervisor", "qemu"}, none, &buffer{}, &buffer{}); err == nil || program.ExitCode(err) != 1 || !strings.Contains(err.Error(), "QEMU is missing") {
		t.Errorf("without QEMU: %v", err)
	}
	help := &buffer{}
	if err := run(t.Context(), []string{"--help"}, none, help, &buffer{}); err != nil || !strings.Contains(help.String(), "--api-key-file") {
		t.Errorf("help: %v %s", err, help.String())
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "1K": 1 << 10, "2MiB": 2 << 20, "3GB": 3 << 30, "1T": 1 << 40, "1PiB": 1 << 50, "": 0, "-1": 0, "1.5T": 0, "1TT": 0, "T": 0} {
		if got, err := parseSize(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d %v, want %d", text, got, err, want)
		}
	}
}
