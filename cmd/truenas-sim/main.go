// Command truenas-sim is a simulated TrueNAS.
//
//	truenas-sim --listen 127.0.0.1:4443 --release 25.10 --state nas.json
//
// It serves the JSON-RPC websocket, uploads and downloads of a NAS over TLS with a self-signed certificate, prints its URL and
// the certificate's fingerprint, and runs until it gets a signal. With --state it restores its content at the start, and saves
// it at the end and on SIGUSR1. With --hypervisor qemu its VMs are QEMU processes, which boot from their disks and end with the
// program. It exits with 0 after a signal, with 1 after a failure, and with 2 when its arguments are wrong.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/sim/qemu"
)

const name = "truenas-sim"

// The linker sets these: -ldflags='-X main.version=v1.2.3 -X main.commit=…'.
var version, commit string

func main() {
	program.Main(func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr)
	})
}

// run runs the command that the arguments name. Output for scripts goes to out, and failures of a running simulator to log.
func run(ctx context.Context, args []string, lookupEnv func(string) (string, bool), out, log io.Writer) error {
	s := &settings{}
	table := program.Command{
		Use:   name + " [flags]",
		Short: "A simulated TrueNAS",
		Long: `Serves the API of a TrueNAS in memory: the JSON-RPC websocket, uploads and downloads, over TLS with a self-signed certificate.
It prints its URL and the fingerprint of the certificate, and runs until it gets a signal.`,
		Example: `  truenas-sim --listen 127.0.0.1:4443 --release 26 --state nas.json
  truenas-sim --listen 127.0.0.1:4443 --control 127.0.0.1:4480`,
		Flags: s.add,
		Run: func(ctx context.Context, _ *pflag.FlagSet, _ []string) error {
			if err := s.complete(lookupEnv); err != nil {
				return err
			}
			return serve(ctx, s, out, log)
		},
	}
	return program.Execute(ctx, table, program.BuildOf(name, version, commit), args, out)
}

// serve serves a NAS until ctx ends.
func serve(ctx context.Context, s *settings, out, log io.Writer) error {
	if s.transcript != "" {
		f, err := os.OpenFile(s.transcript, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // every line is already written
		s.nas.Transcript = f
	}
	if s.hypervisor == "qemu" {
		machines, err := qemu.New(s.machines())
		if err != nil {
			return fmt.Errorf("--hypervisor qemu: %w", err)
		}
		defer machines.Close()
		s.nas.Hypervisor = machines
	}
	nas, err := sim.New(s.nas)
	if err != nil {
		return program.Usage(err)
	}
	defer nas.Close()
	state := stateFile(s.state)
	if err := state.restore(nas); err != nil {
		return err
	}
	if err := encrypt(nas, s.encrypted, s.locked); err != nil {
		return program.Usage(err)
	}
	server, err := certificateFile(s.cert).serve(nas, s.listen)
	if err != nil {
		return err
	}
	if s.control != "" {
		url, stop, err := serveControl(nas, s.control)
		if err != nil {
			server.Close()
			return err
		}
		defer stop()
		fmt.Fprintf(out, "control: %s\n", url)
	}
	s.announce(out, server)
	state.serve(ctx, nas, log)
	server.Close()
	nas.Close()
	return state.save(nas)
}

// announce prints the address of the NAS. It prints the key only if it is the public default.
func (s *settings) announce(out io.Writer, server *sim.Server) {
	key := s.nas.Keys[0]
	fmt.Fprintf(out, "release: %s\nurl: %s\nfingerprint: %s\nusername: %s\n", s.nas.Release, server.URL, server.Fingerprint, key.Username)
	if key.APIKey == sim.DefaultAPIKey {
		fmt.Fprintf(out, "api_key: %s\n", key.APIKey)
	}
}
