package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/assemble"
	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/redfish"
)

// hashCommand is the command "hash".
func hashCommand(in io.Reader, out io.Writer) program.Command {
	return program.Command{
		Use:   "hash <password.txt",
		Short: "Print the hash of a password for an account of the Redfish service",
		Long: `Reads a password from the standard input and prints its bcrypt hash, for password_hash in the accounts of the Redfish service.
A line break at the end does not count.`,
		TakeArgs: true,
		Run: func(_ context.Context, _ *pflag.FlagSet, args []string) error {
			if len(args) > 0 {
				return program.Usage(errors.New("hash takes no arguments: the password is read from the standard input"))
			}
			return runHash(in, out)
		},
	}
}

// maxPasswordInput is larger than any allowed password.
const maxPasswordInput = 4096

// runHash prints the hash of a password. It reads the password from the standard input, because every user of a host sees command
// lines.
func runHash(in io.Reader, out io.Writer) error {
	text, err := io.ReadAll(io.LimitReader(in, maxPasswordInput))
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	hash, err := redfish.HashPassword(strings.TrimRight(string(text), "\r\n"))
	if err != nil {
		return program.Usage(err)
	}
	_, err = fmt.Fprintln(out, hash)
	return err
}

func listenerOf(cfg config.Config, log *zap.Logger) redfish.Listener {
	return redfish.Listener{Address: cfg.Redfish.Listen, TLSDir: cfg.Redfish.TLSDir, Insecure: cfg.TLS.Insecure, Logger: log}
}

// validateRedfish checks the settings of the Redfish service.
func validateRedfish(cfg config.Config) error {
	if cfg.Redfish.Listen == "" || cfg.Redfish.AccountsFile == "" {
		return nil
	}
	_, err := redfish.New(redfish.Config{Accounts: cfg.Redfish.AccountsFile, SessionTimeout: cfg.Redfish.SessionTimeout})
	return errors.Join(err, listenerOf(cfg, zap.NewNop()).Validate())
}

// serveRedfish serves Redfish until ctx ends.
func serveRedfish(ctx context.Context, cfg config.Config, log *zap.Logger, watching *observe.Observer, provider *server.Server) (err error) {
	client, closeClient, err := assemble.Inside(provider, watching)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeClient()) }()
	service, err := redfish.New(redfish.Config{
		Provider: client, Accounts: cfg.Redfish.AccountsFile, ID: cfg.ID, SessionTimeout: cfg.Redfish.SessionTimeout, Logger: log.Named("redfish"),
	})
	if err != nil {
		return program.Usage(err)
	}
	listener := listenerOf(cfg, log.Named("redfish"))
	if listener.Plaintext() {
		log.Warn("the Redfish service is offered to other machines unencrypted, because VIRTRIGAUD_PROVIDER_INSECURE is set: passwords can be read on the network")
	}
	listener.Listening = func(address net.Addr) { log.Info("serving Redfish", zap.Stringer("address", address)) }
	return redfish.Serve(ctx, listener, service)
}
