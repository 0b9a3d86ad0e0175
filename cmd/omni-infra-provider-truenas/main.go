// Command omni-infra-provider-truenas is an infrastructure provider of Omni that creates machines on a TrueNAS.
//
//	omni-infra-provider-truenas --omni-api-endpoint https://omni.example --config provider.yaml    one NAS
//	omni-infra-provider-truenas --provider east=nas1:9443 --provider west=nas2:9443                providers over the network
//
// Without --provider, the provider for the configured NAS runs inside the program. commands.go has the other commands. The
// program exits with 0 after a signal, with 1 after a failure, and with 2 when its arguments or its configuration are wrong.
package main

import (
	"context"
	"io"
	"os"

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

// run runs the command that the arguments name. Output for users goes to out, the log to the standard error.
func run(ctx context.Context, args []string, lookupEnv func(string) (string, bool), out io.Writer) error {
	return program.Execute(ctx, commands(lookupEnv, out), program.BuildOf(name, version, commit), args, out)
}
