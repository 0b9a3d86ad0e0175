package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/omni"
)

// leftoversTimeout limits the command. One removal may take two minutes.
const leftoversTimeout = 10 * time.Minute

// leftoversCommand is the command "leftovers".
func leftoversCommand(lookupEnv func(string) (string, bool), out io.Writer) program.Command {
	var o *options
	var remove []string
	var without bool
	return program.Command{
		Use:   "leftovers [flags]",
		Short: "List VMs of this provider that no machine request names; with --remove, remove them",
		Long: `Lists the VMs of this provider whose machine request no longer exists in Omni. With --remove it removes those that the flag
names, with their disks.`,
		Flags: func(flags *pflag.FlagSet) {
			flags.StringSliceVar(&remove, "remove", nil, "ids of machine requests whose VMs are removed with their disks, separated by commas")
			flags.BoolVar(&without, "without-omni", false, "do not compare with Omni's machine requests, as after the provider was deleted there: all VMs of this provider are listed")
			o = addFlags(flags)
		},
		Run: func(ctx context.Context, flags *pflag.FlagSet, _ []string) error {
			return runLeftovers(ctx, flags, o, remove, without, lookupEnv, out)
		},
	}
}

// runLeftovers lists the VMs of this provider without a machine request, and removes those in remove.
func runLeftovers(ctx context.Context, flags *pflag.FlagSet, o *options, remove []string, without bool, lookupEnv func(string) (string, bool), out io.Writer) error {
	if err := fromEnvironment(flags, lookupEnv); err != nil {
		return program.Usage(err)
	}
	if without && o.key == "" {
		o.key = "not used" // The check requests one.
	}
	if err := o.check(); err != nil {
		return program.Usage(err)
	}
	ctx, cancel := context.WithTimeout(ctx, leftoversTimeout)
	defer cancel()
	return withLeftovers(ctx, o, without, lookupEnv, func(l omni.Leftovers) error {
		if len(remove) > 0 {
			removed, err := l.Remove(ctx, remove)
			for _, v := range removed {
				fmt.Fprintf(out, "removed %s (VM %s on %s)\n", v.Request, v.VM, v.Backend)
			}
			return err
		}
		list, err := l.Find(ctx)
		if err != nil {
			return err
		}
		return printLeftovers(out, list)
	})
}

// withLeftovers connects the backends, and Omni unless without is set.
func withLeftovers(ctx context.Context, o *options, without bool, lookupEnv func(string) (string, bool), do func(omni.Leftovers) error) error {
	watching, err := observe.New(ctx, program.BuildOf(name, version, commit), func(string) (string, bool) { return "", false })
	if err != nil {
		return err
	}
	defer func() { _ = watching.Close() }() // No call is traced.
	list, closeBackends, err := backends(o, lookupEnv, zap.NewNop(), watching)
	if err != nil {
		return err
	}
	defer func() { _ = closeBackends() }()
	l := omni.Leftovers{ID: o.id, Origin: o.origin(), Backends: list}
	if !without {
		there, err := connect(ctx, o, zap.NewNop())
		if err != nil {
			return fmt.Errorf("%w; with --without-omni the VMs are not compared with machine requests", err)
		}
		defer there.close()
		l.State = there.state
	}
	return do(l)
}

func printLeftovers(out io.Writer, list []omni.Leftover) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "no leftovers")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "REQUEST\tBACKEND\tVM\tPOWER")
	for _, v := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", v.Request, v.Backend, v.VM, v.Power)
	}
	return table.Flush()
}
