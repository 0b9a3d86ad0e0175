package main

import (
	"context"
	"io"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/configcheck"
	"virtrigaud-provider-truenas/cmd/internal/healthcheck"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
)

// commands is the command table of the program.
func commands(lookupEnv func(string) (string, bool), in io.Reader, out io.Writer) program.Command {
	var simulated simulatorFlags
	return program.Command{
		Use:   name + " [flags]",
		Short: "VirtRigaud provider for TrueNAS",
		Long: `Serves VirtRigaud's provider contract over gRPC and runs the virtual machines on a TrueNAS.

Settings come from --credentials-dir, from the file of --config, from the environment and from flags; later ones win.
Brackets after a flag name its environment variables.`,
		Example: `  virtrigaud-provider-truenas --simulator
  virtrigaud-provider-truenas --config provider.yaml
  virtrigaud-provider-truenas config check --config provider.yaml`,
		Flags: func(flags *pflag.FlagSet) {
			simulated.add(flags)
			config.AddFlags(flags)
		},
		Run: func(ctx context.Context, flags *pflag.FlagSet, _ []string) error {
			return serveCommand(ctx, flags, simulated, lookupEnv, out)
		},
		Commands: []program.Command{
			demoCommand(out),
			pruneCommand(lookupEnv, out),
			doctorCommand(lookupEnv, out),
			configcheck.Program{}.Command(lookupEnv, out),
			hashCommand(in, out),
			healthcheck.Command(out),
		},
	}
}
