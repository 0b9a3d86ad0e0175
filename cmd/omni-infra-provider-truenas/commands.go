package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/configcheck"
	"virtrigaud-provider-truenas/cmd/internal/healthcheck"
	"virtrigaud-provider-truenas/cmd/internal/program"
)

// commands is the command table of the program.
func commands(lookupEnv func(string) (string, bool), out io.Writer) program.Command {
	var o *options
	return program.Command{
		Use:   name + " [flags]",
		Short: "Omni infrastructure provider for TrueNAS",
		Long: `Creates the machines that Omni requests as virtual machines on a TrueNAS, or on several through --provider.

Brackets after a flag name its environment variables; a flag wins over the environment.`,
		Example: `  omni-infra-provider-truenas demo
  omni-infra-provider-truenas --omni-api-endpoint https://omni.example --config provider.yaml
  omni-infra-provider-truenas config check --config provider.yaml`,
		Flags: func(flags *pflag.FlagSet) { o = addFlags(flags) },
		Run: func(ctx context.Context, flags *pflag.FlagSet, _ []string) error {
			if err := errors.Join(fromEnvironment(flags, lookupEnv), o.check()); err != nil {
				return program.Usage(err)
			}
			return runProvider(ctx, o, lookupEnv)
		},
		Commands: []program.Command{
			demoCommand(out),
			leftoversCommand(lookupEnv, out),
			configcheck.Program{Seeds: true, Prepare: asInside}.Command(lookupEnv, out),
			healthcheck.Command(out),
		},
	}
}
