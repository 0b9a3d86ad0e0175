package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the reference anew")

const (
	reference = "../deploy/docs/configuration.md"
	begin     = "<!-- begin: go test ./config -run Reference -update -->\n"
	end       = "<!-- end -->\n"
)

// The reference has every setting, with the words of --help.
func TestReference(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), begin)
	shown, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no table between its marks", reference)
	}
	want := table()
	if *update {
		if err := os.WriteFile(reference, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if shown != want {
		t.Errorf("%s is not what the settings are; write it anew with -update", reference)
	}
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

func TestEverySettingSaysWhatItIs(t *testing.T) {
	for _, s := range settings {
		if s.use == "" {
			t.Errorf("%s says nothing", s.key)
		}
	}
}

// The file that the reference shows is one that can be used.
func TestReferenceFile(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatalf("%s shows no file", reference)
	}
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
	err = flags.Parse([]string{"--config", filepath.Join(dir, "provider.yaml"), "--credentials-dir", dir + "/none"})
	cfg, loaded := Load(flags, func(string) (string, bool) { return "", false })
	if err := errors.Join(err, loaded); err != nil || cfg.TrueNAS.APIKey.Reveal() != "1-secret" {
		t.Errorf("the file that %s shows: %v", reference, err)
	}
}
