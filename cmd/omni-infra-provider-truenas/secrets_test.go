package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/marked"
)

// TestNoSecretLeaks runs the program with secrets in its settings, each time with another mistake, and searches its output.
func TestNoSecretLeaks(t *testing.T) {
	marks := marked.New()
	key, account, password := "7-"+marks.Secret("API key"), marks.Secret("service account's key"), marks.Secret("password")
	encoded := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"name":"truenas@infra-provider.serviceaccount.omni.sidero.dev","pgp_key":"%s"}`, account))
	armored := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"name":"x","pgp_key":"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n%s\n-----END PGP PRIVATE KEY BLOCK-----"}`, account))
	_, nas := truenastest.Serve(t, func(c *sim.Config) {
		c.Keys = []sim.Key{{Username: "root", APIKey: key, Roles: []string{"FULL_ADMIN"}}}
	})
	good := []string{"TRUENAS_URL=" + nas.URL, "TRUENAS_FINGERPRINT=" + nas.Fingerprint, "TRUENAS_USERNAME=root", "TRUENAS_API_KEY=" + key, "PROVIDER_DATASET=tank/v"}
	tls := t.TempDir()
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if err := os.WriteFile(filepath.Join(tls, name), []byte(marks.Secret("TLS key")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		args []string
		env  []string
	}{
		{"an invalid key", nil, []string{"OMNI_ENDPOINT=https://127.0.0.1:1", "OMNI_SERVICE_ACCOUNT_KEY=" + account}},
		{"a key with invalid contents", nil, []string{"OMNI_ENDPOINT=https://127.0.0.1:1", "OMNI_SERVICE_ACCOUNT_KEY=" + encoded}},
		{"a truncated key", nil, []string{"OMNI_ENDPOINT=https://127.0.0.1:1", "OMNI_SERVICE_ACCOUNT_KEY=" + armored}},
		{"an Omni with a password", nil, []string{"OMNI_ENDPOINT=https://user:" + password + "@127.0.0.1:1", "OMNI_SERVICE_ACCOUNT_KEY=" + encoded}},
		{"an invalid Omni address with a password", nil, []string{"OMNI_ENDPOINT=nope://user:" + password + "@omni:port?token=" + password, "OMNI_SERVICE_ACCOUNT_KEY=" + encoded}},
		{"a factory with a password", nil, []string{"OMNI_ENDPOINT=https://127.0.0.1:1", "OMNI_SERVICE_ACCOUNT_KEY=" + encoded, "OMNI_PROVIDER_IMAGE_FACTORY=http://user:" + password + "@:port"}},
		{"an unknown flag", []string{"--service-account-key=" + account}, nil},
		{"invalid TLS files", []string{"--provider", "127.0.0.1:1", "--provider-tls-dir", tls}, []string{"OMNI_ENDPOINT=https://127.0.0.1:1", "OMNI_SERVICE_ACCOUNT_KEY=" + encoded}},
		{"a NAS with a password in its address", nil, []string{"OMNI_ENDPOINT=https://127.0.0.1:1", "OMNI_SERVICE_ACCOUNT_KEY=" + encoded, "TRUENAS_URL=https://root:" + password + "@nas:port"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			var printed bytes.Buffer
			cmd := exec.CommandContext(t.Context(), exe)
			cmd.Args = append([]string{name, "--log-level", "debug"}, tt.args...)
			cmd.Env = append(append([]string{"PROVIDER_CREDENTIALS_DIR=" + t.TempDir(), "TMPDIR=" + t.TempDir()}, good...), tt.env...)
			cmd.Stdout, cmd.Stderr = &printed, &printed
			var failed *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &failed) || printed.Len() == 0 {
				t.Errorf("it ended with %v and printed %q", err, printed.String())
			}
			for line := range strings.Lines(printed.String()) {
				for _, secret := range marks.In([]byte(line)) {
					t.Errorf("the output contains the %s: %.1000s", secret, line)
				}
			}
		})
	}
}
