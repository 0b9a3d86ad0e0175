package program

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// table returns a program with a command that takes arguments, and one with a subcommand. It records which command ran.
func table(ran *string) Command {
	record := func(name string) func(context.Context, *pflag.FlagSet, []string) error {
		return func(_ context.Context, flags *pflag.FlagSet, args []string) error {
			level := ""
			if f := flags.Lookup("level"); f != nil {
				level = f.Value.String()
			}
			*ran = strings.Join(append([]string{name, level}, args...), " ")
			return nil
		}
	}
	level := func(flags *pflag.FlagSet) { flags.String("level", "info", "level of the log") }
	return Command{
		Use: "prog [flags]", Short: "A program", Flags: level, Run: record("root"),
		Commands: []Command{
			{Use: "health HOST:PORT", Short: "Check the health", TakeArgs: true, Run: record("health")},
			{Use: "config", Short: "Settings", Commands: []Command{{Use: "check", Short: "Check the settings", Flags: level, Run: record("check")}}},
			{Use: "fail", Short: "Fail", Run: func(context.Context, *pflag.FlagSet, []string) error { return errors.New("no NAS") }},
		},
	}
}

func TestExecute(t *testing.T) {
	build := Build{Program: "prog", Version: "v1", Commit: "abc", Go: "go1"}
	for _, tt := range []struct {
		args string
		ran  string
		out  string
		code int
		err  string
	}{
		{args: "", ran: "root info"},
		{args: "--level debug", ran: "root debug"},
		{args: "health a:1 b:2", ran: "health  a:1 b:2"},
		{args: "config check --level=warn", ran: "check warn"},
		{args: "--version", out: "prog v1, commit abc, go1\n"},
		{args: "version", out: "prog v1, commit abc, go1\n"},
		{args: "--help", out: "health"},
		{args: "config check --help", out: "--level string"},
		{args: "completion bash", out: "bash completion"},
		{args: "--nonsense", code: 2, err: "unknown flag: --nonsense"},
		{args: "config check --level", code: 2, err: "flag needs an argument: --level"},
		{args: "heath", code: 2, err: `unknown command "heath" for prog; try --help; did you mean health?`},
		{args: "config", code: 2, err: "prog config: missing command; try --help"},
		{args: "config chk", code: 2, err: `unknown command "chk" for prog config`},
		{args: "config check now", code: 2, err: `unknown argument "now"; try prog config check --help`},
		{args: "fail", code: 1, err: "no NAS"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var ran string
			var out strings.Builder
			err := Execute(t.Context(), table(&ran), build, strings.Fields(tt.args), &out)
			code, text := 0, ""
			if err != nil {
				code, text = ExitCode(err), err.Error()
			}
			if code != tt.code || !strings.Contains(text, tt.err) || tt.err == "" && text != "" {
				t.Errorf("ends with %d, %q; want %d, %q", code, text, tt.code, tt.err)
			}
			if strings.TrimSpace(ran) != tt.ran {
				t.Errorf("ran %q; want %q", ran, tt.ran)
			}
			if !strings.Contains(out.String(), tt.out) || tt.out == "" && out.Len() > 0 {
				t.Errorf("printed %q; want %q", out.String(), tt.out)
			}
		})
	}
}

// --help of a program lists every command of its table, and every flag.
func TestHelpListsCommands(t *testing.T) {
	var ran string
	var out strings.Builder
	if err := Execute(t.Context(), table(&ran), Build{}, []string{"--help"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"health", "config", "fail", "version", "completion", "help", "--version", "--level", "-h, --help"} {
		listed := func(line string) bool {
			return strings.HasPrefix(strings.TrimLeft(line, " "), want+" ") && strings.HasPrefix(line, "  ")
		}
		if !slices.ContainsFunc(strings.Split(out.String(), "\n"), listed) {
			t.Errorf("--help does not list %s:\n%s", want, out.String())
		}
	}
}
