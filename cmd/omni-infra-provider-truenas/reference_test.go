package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write the reference anew")

const (
	reference = "../../deploy/docs/omni.md"
	begin     = "<!-- begin: go test ./cmd/omni-infra-provider-truenas -run Reference -update -->\n"
	end       = "<!-- end -->\n"
)

// The reference has every flag, with the words of --help.
func TestReference(t *testing.T) {
	content, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), begin)
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
		t.Errorf("%s is not what the flags are; write it anew with -update", reference)
	}
}

func table() string {
	var b strings.Builder
	b.WriteString("| flag | environment | default | |\n|-|-|-|-|\n")
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SortFlags = false
	addFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		use, _, _ := strings.Cut(f.Usage, " [")
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", f.Name, strings.Join(variables(f.Name), "`, `"), shownDefault(f), strings.ReplaceAll(use, "<", "&lt;"))
	})
	return b.String()
}

func shownDefault(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "[]":
		return ""
	case "false":
		return "off"
	}
	return "`" + f.DefValue + "`"
}
