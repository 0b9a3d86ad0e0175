package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/config/reference"
)

const page = "../deploy/docs/configuration.md"

// The reference documents every setting with the text of --help.
func TestReference(t *testing.T) {
	reference.Hold(t, page, "./config -run Reference", table())
}

func table() string {
	var b strings.Builder
	b.WriteString("| in the file | flag | environment | |\n|-|-|-|-|\n")
	for _, s := range settings {
		key, flag := code(s.key), ""
		if strings.HasPrefix(s.key, "--") {
			key = ""
		}
		if s.flag != "" {
			flag = code("--" + s.flag)
		}
		var env []string
		for _, name := range s.env {
			env = append(env, code(name))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", key, flag, strings.Join(env, ", "), strings.ReplaceAll(s.use, "<", "&lt;"))
	}
	return b.String()
}

func code(text string) string { return "`" + text + "`" }

func TestSettingsHaveDescriptions(t *testing.T) {
	for _, s := range settings {
		if s.use == "" {
			t.Errorf("%s has no description", s.key)
		}
	}
}

// The file in the reference is valid.
func TestReferenceFile(t *testing.T) {
	example := reference.Example(t, page)
	dir := t.TempDir()
	for name, content := range map[string]string{
		"api_key": "1-secret\n", "provider.yaml": strings.ReplaceAll(example, "3F:0C:...", strings.Repeat("3F", 32)),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(flags)
	err := flags.Parse([]string{"--config", filepath.Join(dir, "provider.yaml"), "--credentials-dir", dir + "/none"})
	cfg, loaded := Load(flags, func(string) (string, bool) { return "", false })
	if err := errors.Join(err, loaded); err != nil || cfg.TrueNAS.APIKey.Reveal() != "1-secret" {
		t.Errorf("the file in %s: %v", page, err)
	}
}
