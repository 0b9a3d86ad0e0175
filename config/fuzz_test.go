package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Reading ends for any file, and no error contains a key.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"truenas: {url: https://nas, username: u, api_key: 1-sesame}\nstorage: {dataset: tank/a}\n", "a: &a {b: *a}\n", "truenas: &t\n  truenas: *t\n",
		"- 1\n", "truenas:\n  api_key: [1-sesame]\n", "{}", "\x00", "? {a: b}\n: c\n", "tls: {allowed_sans: [a, b]}\n", "--- !!binary aGk=\n", "<<: {id: a}\n",
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		name := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		flags := pflag.NewFlagSet("fuzz", pflag.ContinueOnError)
		AddFlags(flags)
		if err := flags.Parse([]string{"--config", name, "--credentials-dir", dir}); err != nil {
			t.Fatal(err)
		}
		c, err := Load(flags, func(string) (string, bool) { return "", false })
		if key := c.TrueNAS.APIKey.Reveal(); err != nil && len(key) > 12 && strings.Contains(err.Error(), key) {
			t.Errorf("the error shows the key: %v", err)
		}
	})
}

// FuzzAddress prints addresses without their secrets, even if they are otherwise invalid.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"https://%s@nas", "https://root:%s@nas:port/x", "root:%s@nas", "https://nas/?key=%s", "wss://nas/api#%s", "http://a@b:%s@c", "://%s@x"} {
		f.Add(seed)
	}
	const secret = "s3cr3tw0rd"
	f.Fuzz(func(t *testing.T, form string) {
		if strings.Contains(form, secret) || strings.Count(form, "%s") != 1 {
			return
		}
		before, after, _ := strings.Cut(form, "%s")
		hidden := strings.Contains(after, "@") || strings.ContainsAny(before, "?#")
		if shown := WithoutSecrets(before + secret + after); hidden && strings.Contains(shown, secret) {
			t.Errorf("%q is shown as %q", before+secret+after, shown)
		}
	})
}
