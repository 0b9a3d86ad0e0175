// Command virtrigaud-provider-truenas is a VirtRigaud provider that runs virtual machines on a TrueNAS.
//
//	virtrigaud-provider-truenas --config provider.yaml           against a NAS
//	virtrigaud-provider-truenas --simulator                      against a simulated NAS inside the program
//	virtrigaud-provider-truenas demo                             a tour of the service on a simulated NAS
//	virtrigaud-provider-truenas prune-images --dry-run           says which images are unused; without --dry-run, removes them
//	virtrigaud-provider-truenas doctor                           lists what interrupted work left on the NAS; with --fix, removes it
//	virtrigaud-provider-truenas hash                             makes the hash of a password for the accounts of the Redfish service
//	virtrigaud-provider-truenas config check                     tries the settings against the NAS, and says what does not work
//
// A pod started by VirtRigaud's manager needs no arguments beyond those that the manager gives. It exits with 0 after a
// signal, with 1 when it cannot go on, and with 2 when it was called or configured wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/configcheck"
	"virtrigaud-provider-truenas/cmd/internal/healthcheck"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
)

const synopsis = `Usage: virtrigaud-provider-truenas [flags]
       virtrigaud-provider-truenas demo [flags]
       virtrigaud-provider-truenas prune-images [--dry-run] [flags]
       virtrigaud-provider-truenas doctor [--fix] [flags]
       virtrigaud-provider-truenas config check [flags]
       virtrigaud-provider-truenas hash <password.txt
       virtrigaud-provider-truenas health HOST:PORT
`

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
	case len(args) > 0 && args[0] == "prune-images":
		return runPrune(ctx, args[1:], lookupEnv, out)
	case len(args) > 0 && args[0] == "doctor":
		return runDoctor(ctx, args[1:], lookupEnv, out)
	case len(args) > 0 && args[0] == "config":
		return configcheck.Program{Name: "virtrigaud-provider-truenas"}.Run(ctx, args[1:], lookupEnv, out)
	case len(args) > 0 && args[0] == "hash":
		return runHash(args[1:], os.Stdin, out)
	case len(args) > 0 && args[0] == "health":
		return healthcheck.Run(ctx, args[1:], out)
	}
	flags := pflag.NewFlagSet("virtrigaud-provider-truenas", pflag.ContinueOnError)
	flags.SortFlags = false
	simulated := addSimulatorFlags(flags)
	config.AddFlags(flags)
	askedVersion := flags.Bool("version", false, "print the version and end")
	flags.SetOutput(out)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(out, "%s\n%s", synopsis, flags.FlagUsages())
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil
	case err != nil:
		return program.Usage(err)
	case flags.NArg() > 0:
		return program.Usage(fmt.Errorf("%q is not understood; try --help", flags.Arg(0)))
	case *askedVersion:
		_, err := fmt.Fprintln(out, program.BuildOf("virtrigaud-provider-truenas", version, commit))
		return err
	}
	if !simulated.wanted {
		return runProvider(ctx, flags, lookupEnv, nil)
	}
	nas, err := startSimulator(*simulated)
	if err != nil {
		return err
	}
	defer nas.close()
	var examples sync.WaitGroup
	defer examples.Wait()
	return runProvider(ctx, flags, nas.environment(lookupEnv), func(service, health net.Addr, page bool) {
		examples.Go(func() { printExamples(ctx, out, service, health, page) })
	})
}
