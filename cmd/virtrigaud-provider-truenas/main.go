// Command virtrigaud-provider-truenas is a VirtRigaud provider that runs virtual machines on a TrueNAS.
//
//	virtrigaud-provider-truenas --config provider.yaml    serves the RPCs for a NAS
//	virtrigaud-provider-truenas --simulator               serves them for a simulated NAS inside the program
//
// commands.go has the other commands. A pod that VirtRigaud's manager starts needs no arguments beyond those that the manager
// sets. The program exits with 0 after a signal, with 1 after a failure, and with 2 when its arguments or its configuration are
// wrong.
package main

import (
	"context"
	"io"
	"net"
	"os"
	"sync"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/program"
)

const name = "virtrigaud-provider-truenas"

// The linker sets these: -ldflags='-X main.version=v1.2.3 -X main.commit=…'.
var version, commit string

func main() {
	program.Main(func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout)
	})
}

// run runs the command that the arguments name. Output for users goes to out, the log to the standard error.
func run(ctx context.Context, args []string, lookupEnv func(string) (string, bool), in io.Reader, out io.Writer) error {
	return program.Execute(ctx, commands(lookupEnv, in, out), program.BuildOf(name, version, commit), args, out)
}

// serveCommand serves the RPCs until ctx ends, with --simulator for a NAS inside the program.
func serveCommand(ctx context.Context, flags *pflag.FlagSet, simulated simulatorFlags, lookupEnv func(string) (string, bool), out io.Writer) error {
	if !simulated.wanted {
		return runProvider(ctx, flags, lookupEnv, nil)
	}
	nas, err := startSimulator(simulated)
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
