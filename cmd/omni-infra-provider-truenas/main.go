// Command omni-infra-provider-truenas is an infrastructure provider of Omni that makes machines on a TrueNAS.
//
//	omni-infra-provider-truenas --omni-api-endpoint https://omni.example --config provider.yaml    one NAS
//	omni-infra-provider-truenas --provider east=nas1:9443 --provider west=nas2:9443                providers over the network
//	omni-infra-provider-truenas demo                                                               a tour without Omni or NAS
//
// Without --provider, the provider of the NAS that the settings name runs inside the program. It exits with 0 after a
// signal, with 1 when it cannot go on, and with 2 when it was called or configured wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"
)

const program = "omni-infra-provider-truenas"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
		os.Exit(exitCode(err))
	}
}

// usage marks mistakes of whoever called or configured the program.
type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

func exitCode(err error) int {
	if errors.As(err, &usage{}) {
		return 2
	}
	return 1
}

// run does what the arguments say. What it prints for people goes to out, the log goes to the standard error.
func run(ctx context.Context, args []string, lookupEnv func(string) (string, bool), out io.Writer) error {
	if len(args) > 0 && args[0] == "demo" {
		return runDemo(ctx, args[1:], out)
	}
	flags := pflag.NewFlagSet(program, pflag.ContinueOnError)
	flags.SortFlags = false
	o := addFlags(flags)
	version := flags.Bool("version", false, "print the version and end")
	flags.SetOutput(out)
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil
	case err != nil:
		return usage{err}
	case flags.NArg() > 0:
		return usage{fmt.Errorf("%q is not understood; try --help", flags.Arg(0))}
	case *version:
		return printVersion(out)
	}
	if err := errors.Join(fromEnvironment(flags, lookupEnv), o.check()); err != nil {
		return usage{err}
	}
	return runProvider(ctx, o, lookupEnv)
}

// printVersion prints what the build knows of itself.
func printVersion(out io.Writer) error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("the build holds no information about itself")
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value
		}
	}
	_, err := fmt.Fprintf(out, "%s %s %s\n", program, version, info.GoVersion)
	return err
}
