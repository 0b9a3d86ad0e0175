// Command omni-infra-provider-truenas is an infrastructure provider of Omni that makes machines on a TrueNAS.
//
//	omni-infra-provider-truenas --omni-api-endpoint https://omni.example --config provider.yaml    one NAS
//	omni-infra-provider-truenas --provider east=nas1:9443 --provider west=nas2:9443                providers over the network
//	omni-infra-provider-truenas demo                                                               a tour without Omni or NAS
//	omni-infra-provider-truenas config check --config provider.yaml                                checks the settings of the NAS
//	omni-infra-provider-truenas leftovers --config provider.yaml                                   lists VMs without a machine request
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

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/configcheck"
	"virtrigaud-provider-truenas/cmd/internal/healthcheck"
	"virtrigaud-provider-truenas/cmd/internal/program"
)

const name = "omni-infra-provider-truenas"

// The linker sets these: -ldflags='-X main.version=v1.2.3 -X main.commit=…'.
var version, commit string

func main() {
	program.Main(func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.LookupEnv, os.Stdout)
	})
}

// run does what the arguments say. What it prints for people goes to out, the log goes to the standard error.
func run(ctx context.Context, args []string, lookupEnv func(string) (string, bool), out io.Writer) error {
	switch {
	case len(args) > 0 && args[0] == "demo":
		return runDemo(ctx, args[1:], out)
	case len(args) > 0 && args[0] == "config":
		return configcheck.Program{Name: name, Seeds: true, Prepare: asInside}.Run(ctx, args[1:], lookupEnv, out)
	case len(args) > 0 && args[0] == "leftovers":
		return runLeftovers(ctx, args[1:], lookupEnv, out)
	case len(args) > 0 && args[0] == "health":
		return healthcheck.Run(ctx, args[1:], out)
	}
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SortFlags = false
	o := addFlags(flags)
	askedVersion := flags.Bool("version", false, "print the version and end")
	flags.SetOutput(out)
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil
	case err != nil:
		return program.Usage(err)
	case flags.NArg() > 0:
		return program.Usage(fmt.Errorf("%q is not understood; try --help", flags.Arg(0)))
	case *askedVersion:
		_, err := fmt.Fprintln(out, program.BuildOf(name, version, commit))
		return err
	}
	if err := errors.Join(fromEnvironment(flags, lookupEnv), o.check()); err != nil {
		return program.Usage(err)
	}
	return runProvider(ctx, o, lookupEnv)
}
