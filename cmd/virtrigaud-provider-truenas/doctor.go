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

const doctorUsage = `Usage: virtrigaud-provider-truenas doctor [--fix] [flags]

Lists what on the NAS is marked as this provider's and belongs to no VM: half-made VMs, disks whose VM is gone and records
whose disks are gone, what was staged for images, imports and exports that were interrupted, images and imports that landed
half, and snapshots that were taken for clones and exports that are no more. It takes the settings of the service, of which
the id and the dataset say what to look for.

With --fix it removes them, all but those of which the list says why they stay. What has no mark of this provider is never
listed or touched, nor is what is in use, or so young that somebody may be working on it.

The exit status is 0 when there is nothing to remove, 1 when there is, or when something could not be removed.

`

// runDoctor lists what was left on the NAS, and removes it when asked to. The provider may run meanwhile: both decide by
// what is on the NAS.
func runDoctor(ctx context.Context, args []string, lookupEnv func(string) (string, bool), out io.Writer) (err error) {
	flags := pflag.NewFlagSet("virtrigaud-provider-truenas doctor", pflag.ContinueOnError)
	flags.SetOutput(out)
	flags.SortFlags = false
	fix := flags.Bool("fix", false, "remove what is listed")
	settled := flags.Duration("older-than", 10*time.Minute, "leave out what is younger; VirtRigaud waits 5 minutes for a Create, and what gives signs of life is left out for at least 90 seconds after the last")
	config.AddFlags(flags)
	flags.Usage = func() { _, _ = fmt.Fprint(out, doctorUsage+flags.FlagUsages()) }
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return nil
	case err != nil:
		return program.Usage(err)
	case flags.NArg() > 0:
		return program.Usage(fmt.Errorf("%q is not understood; try doctor --help", flags.Arg(0)))
	}
	cfg, err := config.Load(flags, lookupEnv)
	if err != nil {
		return program.Usage(err)
	}
	provider, closeAll, err := assemble.Connected(ctx, cfg, zap.NewNop())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	return examine(ctx, provider, *settled, *fix, out)
}

// examine prints what was removed and what is there.
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
		return fmt.Errorf("%d appeared meanwhile; ask again", open)
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
