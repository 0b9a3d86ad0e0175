package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/config/reference"
)

const page = "../../deploy/docs/omni.md"

// The reference documents every flag with the text of --help.
func TestReference(t *testing.T) {
	reference.Hold(t, page, "./cmd/omni-infra-provider-truenas -run Reference", table())
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
