// Package program is what the commands of this project have in common: how they end, and how they log.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a command and ends the process: with 0 when run returns nil, with 2 when the command was called or configured
// wrongly, and with 1 otherwise. The context ends with the first signal; a second one ends the process at once.
func Main(run func(ctx context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(ExitCode(err))
	}
}

// Usage marks err as a mistake of whoever called or configured the command.
func Usage(err error) error { return usage{err} }

type usage struct{ error }

func (u usage) Unwrap() error { return u.error }

// ExitCode is the exit status for an error that ends a command.
func ExitCode(err error) int {
	if errors.As(err, &usage{}) {
		return 2
	}
	return 1
}
