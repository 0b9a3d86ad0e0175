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

// runPrune removes unused images once, or with --dry-run says which it would remove. The running provider does the same
// every hour when images.unused_for is set; both decide by what is on the NAS, so they do not get in each other's way.
func runPrune(ctx context.Context, args []string, lookupEnv func(string) (string, bool), out io.Writer) (err error) {
	flags := pflag.NewFlagSet("virtrigaud-provider-truenas prune-images", pflag.ContinueOnError)
	flags.SetOutput(out)
	dry := flags.Bool("dry-run", false, "only print what would be removed")
	config.AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil
		}
		return program.Usage(err)
	}
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
	unused, err := provider.PruneImages(ctx, cfg.Images.UnusedFor, *dry)
	done := "removed"
	if *dry {
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
