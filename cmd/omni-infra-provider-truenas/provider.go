package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/cmd/internal/memory"
	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/cmd/internal/statuspage"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/omni"
)

// runProvider connects everything and runs until ctx ends.
func runProvider(ctx context.Context, o *options, lookupEnv func(string) (string, bool)) error {
	log, err := program.Logger(o.level, o.logFormat)
	if err != nil {
		return program.Usage(err)
	}
	defer func() { _ = log.Sync() }()
	if limit := memory.Bound(os.DirFS("/")); limit > 0 {
		log.Debug("memory is limited", zap.Int64("bytes", limit))
	}
	watching, err := observe.New(ctx, program.BuildOf(name, version, commit), lookupEnv)
	if err != nil {
		return program.Usage(err)
	}
	defer func() {
		if err := watching.Close(); err != nil {
			log.Warn("export of the last traces failed", zap.Error(err))
		}
	}()
	counted := newAdapterMetrics()
	watching.Metrics.Register(counted)
	providers, closeProviders, err := backends(o, lookupEnv, log, watching)
	if err != nil {
		return err
	}
	defer func() {
		if err := closeProviders(); err != nil {
			log.Warn("shutdown incomplete", zap.Error(err))
		}
	}()
	var page http.Handler
	if o.page {
		page = statuspage.Handler(statusPage(watching, counted, o))
	}
	work := func(ctx context.Context) error { return adapt(ctx, o, providers, counted, log) }
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveProbes(ctx, o.probes, watching.Web(page), counted.ready) })
	group.Go(func() error {
		if !elects(o, lookupEnv) {
			return work(ctx)
		}
		log.Info("waiting for leadership")
		return electInCluster(ctx, o, work)
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	log.Info("stopped")
	return nil
}

// adapt makes the infrastructure provider with its connection to Omni.
func adapt(ctx context.Context, o *options, providers []omni.Backend, counted *adapterMetrics, log *zap.Logger) error {
	there, err := connect(ctx, o, log)
	if err != nil {
		return err
	}
	defer there.close()
	cfg := o.settings()
	cfg.Providers, cfg.State, cfg.Factory, cfg.Hooks, cfg.Logger = providers, there.state, there.factory, counted.hooks(), log
	cfg.Assets = there.assets
	if cfg.Logins, err = readLogins(o.logins); err != nil {
		return program.Usage(fmt.Errorf("--image-factory-logins: %w", err))
	}
	cfg.Origin, cfg.Version = o.origin(), program.BuildOf(name, version, commit).Version
	p, err := omni.New(cfg)
	if err != nil {
		return program.Usage(err)
	}
	log.Info("started", zap.String("version", cfg.Version), zap.String("id", o.id), zap.String("omni", config.WithoutSecrets(o.endpoint)))
	counted.working.Store(p)
	defer counted.working.Store(nil)
	return p.Run(ctx)
}

// elects reports whether replicas have to elect a leader.
func elects(o *options, lookupEnv func(string) (string, bool)) bool {
	if o.election != "auto" {
		return o.election == "on"
	}
	host, _ := lookupEnv("KUBERNETES_SERVICE_HOST")
	_, err := os.Stat("/var/run/secrets/kubernetes.io/serviceaccount/token")
	return host != "" && err == nil
}
