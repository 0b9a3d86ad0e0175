package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/assemble"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
)

// pruneCommand is the command "prune-images".
func pruneCommand(lookupEnv func(string) (string, bool), out io.Writer) program.Command {
	var dry bool
	return program.Command{
		Use:   "prune-images [flags]",
		Short: "Remove images that no VM has used for a while",
		Long: `Removes the prepared images that no VM has used for --images-unused-for. The service does the same every hour
when images.unused_for is set. Both decide by what is on the NAS, so they may run at the same time.`,
		Flags: func(flags *pflag.FlagSet) {
			flags.BoolVar(&dry, "dry-run", false, "list the images to remove, and remove nothing")
			config.AddFlags(flags)
		},
		Run: func(ctx context.Context, flags *pflag.FlagSet, _ []string) error {
			return runPrune(ctx, flags, dry, lookupEnv, out)
		},
	}
}

// runPrune removes unused images once, or lists them.
func runPrune(ctx context.Context, flags *pflag.FlagSet, dry bool, lookupEnv func(string) (string, bool), out io.Writer) (err error) {
	cfg, err := config.Load(flags, lookupEnv)
	if cfg.Images.UnusedFor == 0 {
		err = errors.Join(err, errors.New("images.unused_for: missing: how long an image must not have been used; set it in the file or with --images-unused-for"))
	}
	if err != nil {
		return program.Usage(err)
	}
	provider, closeAll, err := assemble.Connected(ctx, cfg, zap.NewNop())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	unused, err := provider.PruneImages(ctx, cfg.Images.UnusedFor, dry)
	done := "removed"
	if dry {
		done = "would be removed"
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, image := range unused {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%.1f MiB\tlast used %s\t%s\n", image.Name, image.Dataset, float64(image.UsedBytes)/(1<<20),
			image.LastUsed.UTC().Format(time.DateTime), done)
	}
	_ = table.Flush()
	_, _ = fmt.Fprintf(out, "%d images %s\n", len(unused), done)
	return err
}
