package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/assemble"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/server"
)

const doctorText = `Lists what carries this provider's mark on the NAS and belongs to no VM: unfinished VMs, disks without a VM record and records
without disks, staging datasets of interrupted transfers, unfinished images and imports, and snapshots of clones and exports
that no longer exist. It uses the settings of the service; the id and the dataset decide what it searches for.

With --fix it removes them, except those whose row gives a reason to keep them. It never lists or touches what has no mark of
this provider, what is in use, or what is younger than --older-than.

The exit status is 0 when there is nothing to remove, and 1 when there is, or when a removal failed.`

// doctorCommand is the command "doctor".
func doctorCommand(lookupEnv func(string) (string, bool), out io.Writer) program.Command {
	var fix bool
	var settled time.Duration
	return program.Command{
		Use:   "doctor [flags]",
		Short: "List leftovers of interrupted work on the NAS; with --fix, remove them",
		Long:  doctorText,
		Flags: func(flags *pflag.FlagSet) {
			flags.BoolVar(&fix, "fix", false, "remove the listed objects")
			flags.DurationVar(&settled, "older-than", 10*time.Minute, "skip what is younger; VirtRigaud waits 5 minutes for a Create, and work that shows signs of life is skipped for at least 90 seconds after the last")
			config.AddFlags(flags)
		},
		Run: func(ctx context.Context, flags *pflag.FlagSet, _ []string) error {
			return runDoctor(ctx, flags, settled, fix, lookupEnv, out)
		},
	}
}

// runDoctor lists leftovers, and removes them with fix. The provider may run at the same time, because both rely on the state of
// the NAS.
func runDoctor(ctx context.Context, flags *pflag.FlagSet, settled time.Duration, fix bool, lookupEnv func(string) (string, bool), out io.Writer) (err error) {
	cfg, err := config.Load(flags, lookupEnv)
	if err != nil {
		return program.Usage(err)
	}
	provider, closeAll, err := assemble.Connected(ctx, cfg, zap.NewNop())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	return examine(ctx, provider, settled, fix, out)
}

// examine prints the removed and the remaining leftovers.
func examine(ctx context.Context, provider *server.Server, settled time.Duration, fix bool, out io.Writer) error {
	var removed []server.Leftover
	var failed error
	if fix {
		removed, failed = provider.RemoveLeftovers(ctx, settled)
	}
	left, err := provider.Leftovers(ctx, settled)
	if err != nil {
		return errors.Join(failed, err)
	}
	if len(removed)+len(left) > 0 {
		printLeftovers(out, removed, left)
	}
	switch open := len(slices.DeleteFunc(left, func(l server.Leftover) bool { return l.Keep != "" })); {
	case failed != nil:
		return failed
	case open > 0 && !fix:
		return fmt.Errorf("%d to remove; doctor --fix does it", open)
	case open > 0:
		return fmt.Errorf("%d new leftovers; run the command again", open)
	}
	if fix {
		_, _ = fmt.Fprintf(out, "%d removed\n", len(removed))
	}
	_, err = fmt.Fprintln(out, "nothing to remove")
	return err
}

func printLeftovers(out io.Writer, removed, left []server.Leftover) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "WHAT\tWHERE\tFOR\tAGE\tSIZE\t")
	row := func(l server.Leftover, state string) {
		age := "unknown"
		if !l.Since.IsZero() {
			age = time.Since(l.Since).Round(time.Minute).String()
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f MiB\t%s\n", l.Kind, l.Where, l.Name, age, float64(l.Bytes)/(1<<20), state)
	}
	for _, l := range removed {
		row(l, "removed")
	}
	for _, l := range left {
		if l.Keep == "" {
			row(l, "to remove")
		} else {
			row(l, "stays: "+l.Keep)
		}
	}
	_ = table.Flush()
}
