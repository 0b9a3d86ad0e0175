package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/listen"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// environment returns the variables for the NAS.
func environment(served *sim.Server) func(string) (string, bool) {
	settings := map[string]string{
		"TRUENAS_URL": served.URL, "TRUENAS_FINGERPRINT": served.Fingerprint, "TRUENAS_USERNAME": sim.DefaultUser, "TRUENAS_API_KEY": sim.DefaultAPIKey, "PROVIDER_DATASET": "tank/virtrigaud",
	}
	return func(name string) (string, bool) { text, ok := settings[name]; return text, ok }
}

func TestTheProviderInside(t *testing.T) {
	_, served := truenastest.Serve(t)
	t.Setenv("TMPDIR", t.TempDir())
	providers, closeAll, err := backends(&options{id: "truenas"}, environment(served), zap.NewNop(), unwatched(t))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := providers[0].Client.Validate(t.Context(), &providerv1.ValidateRequest{})
	if err != nil || !resp.GetOk() || strings.HasPrefix(resp.GetMessage(), "degraded") {
		t.Errorf("Validate: %v, %v", resp, err)
	}
	folders, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "provider-*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("folders: %v, %v", folders, err)
	}
	if info, err := os.Stat(folders[0]); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder is %v, %v", info.Mode(), err)
	}
	if err := closeAll(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folders[0]); !os.IsNotExist(err) {
		t.Errorf("the socket's folder remains: %v", err)
	}
}

// Backends get their failure domains from the flags, and from variables with commas.
func TestFailureDomainsOfBackends(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	o := addFlags(flags)
	environment := map[string]string{
		"OMNI_ENDPOINT": "https://omni.example", "OMNI_SERVICE_ACCOUNT_KEY": "key", "OMNI_PROVIDER_PROVIDER_INSECURE": "true",
		"OMNI_PROVIDER_PROVIDER": "a1=nas1:9443,a2=nas2:9443,b1=nas3:9443", "OMNI_PROVIDER_FAILURE_DOMAIN": "a1=rackA,a2=rackA",
	}
	err := errors.Join(fromEnvironment(flags, func(name string) (string, bool) { text, ok := environment[name]; return text, ok }), o.check())
	if err != nil {
		t.Fatal(err)
	}
	list, closeAll, err := backends(o, nil, zap.NewNop(), unwatched(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"rackA", "rackA", ""} {
		if list[i].FailureDomain != want {
			t.Errorf("%s is in %q, want %q", list[i].Name, list[i].FailureDomain, want)
		}
	}
	if err := closeAll(); err != nil {
		t.Error(err)
	}
}

// authority writes the TLS files of a provider and its client into a folder.
func authority(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: certificate}, "ca.crt": {Type: "CERTIFICATE", Bytes: certificate}, "tls.key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAProviderOverTheNetwork(t *testing.T) {
	nas, _ := truenastest.New(t)
	s, err := server.New(nas, server.Config{ID: "nas", Dataset: "tank/virtrigaud"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir := t.TempDir()
	authority(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	address, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- listen.Serve(ctx, listen.Config{Listen: "127.0.0.1:0", TLSDir: dir, Logger: zap.NewNop(), Service: server.Interceptor(), Listening: func(service, _ net.Addr) { address <- service.String() }}, s.Register, s.Ready)
	}()
	at := <-address
	for _, tt := range []struct {
		name    string
		options options
		answers bool
	}{
		{"with its certificates", options{providers: []string{"east=" + at}, tlsDir: dir}, true},
		{"unencrypted", options{providers: []string{at}, plaintext: true}, false},
	} {
		providers, closeAll, err := backends(&tt.options, nil, zap.NewNop(), unwatched(t))
		if err != nil {
			t.Fatal(err)
		}
		call, stop := context.WithTimeout(ctx, 5*time.Second)
		if _, err := providers[0].Client.Validate(call, &providerv1.ValidateRequest{}); (err == nil) != tt.answers {
			t.Errorf("%s: %v", tt.name, err)
		}
		stop()
		if err := closeAll(); err != nil {
			t.Error(err)
		}
	}
	rotates(t, dir, at)
	if _, _, err := backends(&options{providers: []string{at}, tlsDir: t.TempDir()}, nil, zap.NewNop(), unwatched(t)); program.ExitCode(err) != 2 {
		t.Errorf("without certificates: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// rotates replaces the authority of both sides. The next connection uses the new one.
func rotates(t *testing.T, dir, at string) {
	t.Helper()
	transport, err := (&options{tlsDir: dir}).transport()
	if err != nil {
		t.Fatal(err)
	}
	shake := func() error {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		secured, _, err := transport.Clone().ClientHandshake(ctx, at, conn)
		if err == nil {
			_ = secured.Close()
		}
		return err
	}
	before := shake()
	authority(t, dir)
	if err := errors.Join(before, shake()); err != nil {
		t.Errorf("the new authority is not used: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := shake(); err != nil {
		t.Errorf("with a partially written key: %v", err)
	}
	strange := t.TempDir()
	authority(t, strange)
	if transport, err = (&options{tlsDir: strange}).transport(); err != nil {
		t.Fatal(err)
	}
	if err := shake(); err == nil {
		t.Error("a provider of another authority is trusted")
	}
}

func TestForwards(t *testing.T) {
	for version, want := range map[string]bool{"v1.9.0": true, "1.10.2": true, "v1.8.4": false, "v2.0.0": true, "unknown": true} {
		if got := forwards(version); got != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}

// unwatched is an observer without a server.
func unwatched(t *testing.T) *observe.Observer {
	t.Helper()
	o, err := observe.New(t.Context(), program.BuildOf(name, "", ""), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// "config check" prints the id that marks the provider's objects on the NAS, from any source.
func TestConfigCheckUsesSettingsOfProgram(t *testing.T) {
	_, served := truenastest.Serve(t)
	file := filepath.Join(t.TempDir(), "nas.yaml")
	if err := os.WriteFile(file, []byte("id: of-the-file\nstorage: {dataset: fast/virtrigaud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"nothing is said", nil, nil, `provider "omni.truenas"`},
		{"a flag", []string{"--id", "east"}, nil, `provider "omni.east"`},
		{"a variable", nil, map[string]string{"OMNI_PROVIDER_ID": "west"}, `provider "omni.west"`},
		{"a flag and a variable", []string{"--id", "east"}, map[string]string{"OMNI_PROVIDER_ID": "west"}, `provider "omni.east"`},
		{"the provider's variable", []string{"--id", "east"}, map[string]string{"PROVIDER_ID": "mine"}, `provider "mine"`},
		{"a file with an id", []string{"--config", file}, nil, `provider "omni.truenas"`},
		{"a file by a variable", nil, map[string]string{"OMNI_PROVIDER_CONFIG": file, "PROVIDER_DATASET": ""}, "dataset fast/virtrigaud"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lookup := environment(served)
			env := func(name string) (string, bool) {
				if text, ok := tt.env[name]; ok {
					return text, true
				}
				return lookup(name)
			}
			var out strings.Builder
			if err := run(t.Context(), append([]string{"config", "check"}, tt.args...), env, &out); err != nil && !strings.HasSuffix(err.Error(), " failed") {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), tt.want) {
				t.Errorf("the output lacks %s:\n%s", tt.want, out.String())
			}
		})
	}
}
