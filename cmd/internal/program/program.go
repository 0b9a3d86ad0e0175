// Package program contains the common parts of the programs: the command table, exit codes, the version and the log.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a program and ends the process: with 0 when run returns nil, with 2 when the arguments or the configuration are
// wrong, and with 1 otherwise. The context ends with the first signal; a second signal ends the process at once.
func Main(run func(ctx context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(ExitCode(err))
	}
}

// Usage marks err as a mistake in the arguments or the configuration.
func Usage(err error) error { return usage{err} }

type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

// ExitCode returns the exit status for an error that ends a program.
func ExitCode(err error) int {
	if errors.As(err, &usage{}) {
		return 2
	}
	return 1
}
