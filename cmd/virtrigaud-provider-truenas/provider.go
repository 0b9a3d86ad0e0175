package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/cmd/internal/assemble"
	"virtrigaud-provider-truenas/cmd/internal/memory"
	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/cmd/internal/statuspage"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/listen"
)

// runProvider reads the configuration and serves until ctx ends. Its error lists all mistakes of the configuration.
// listening, when set, receives the addresses, and whether there is a status page.
func runProvider(ctx context.Context, flags *pflag.FlagSet, lookupEnv func(string) (string, bool), listening func(service, health net.Addr, page bool)) error {
	cfg, err := config.Load(flags, lookupEnv)
	offer := offerOf(cfg, zap.NewNop())
	if err := errors.Join(err, offer.Validate(), validateRedfish(cfg)); err != nil {
		return program.Usage(err)
	}
	log, err := program.Logger(cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	if limit := memory.Bound(os.DirFS("/")); limit > 0 {
		log.Debug("memory is limited", zap.Int64("bytes", limit))
	}
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	if offer.Plaintext() {
		log.Warn("the service is offered to other machines unencrypted, because VIRTRIGAUD_PROVIDER_INSECURE is set")
	}
	watching, err := observe.New(ctx, program.BuildOf("virtrigaud-provider-truenas", version, commit), lookupEnv)
	if err != nil {
		return program.Usage(err)
	}
	defer func() {
		if err := watching.Close(); err != nil {
			log.Warn("the last traces are lost", zap.Error(err))
		}
	}()
	err = serve(ctx, cfg, log, watching, func(service, health net.Addr) {
		log.Info("serving", zap.Stringer("address", service), zap.Any("health", health), zap.String("id", cfg.ID),
			zap.String("nas", cfg.TrueNAS.URL), zap.String("dataset", cfg.Storage.Dataset))
		if listening != nil {
			listening(service, health, cfg.StatusPage)
		}
	})
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// serve serves the RPCs over gRPC until ctx ends.
func serve(ctx context.Context, cfg config.Config, log *zap.Logger, watching *observe.Observer, listening func(service, health net.Addr)) error {
	hooks := watching.Hooks()
	hooks.Server.OnLegacyImage = countLegacyImages(watching.Metrics, log)
	provider, closeAll, err := assemble.Watched(cfg, log, hooks, assemble.AfterAnother)
	if err != nil {
		return err
	}
	defer func() {
		if err := closeAll(); err != nil {
			log.Warn("not everything was closed", zap.Error(err))
		}
	}()
	watching.Watch(provider)
	var page http.Handler
	if cfg.StatusPage {
		page = statuspage.Handler(statuspage.Provider(watching, provider, cfg.TrueNAS.URL))
	}
	offer := offerOf(cfg, log)
	offer.Listening, offer.Interceptors, offer.Options, offer.Web = listening, watching.Interceptors(), watching.Options(), watching.Web(page)

	// Background work ends after the last call, not at the signal.
	group, ctx := errgroup.WithContext(ctx)
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group.Go(func() error { return provider.Run(beside) })
	group.Go(func() error {
		defer stop()
		serving, ctx := errgroup.WithContext(ctx)
		serving.Go(func() error { return listen.Serve(ctx, offer, provider.Register, provider.Ready) })
		if cfg.Redfish.Listen != "" {
			serving.Go(func() error { return serveRedfish(ctx, cfg, log, watching, provider) })
		}
		return serving.Wait()
	})
	return group.Wait()
}

func offerOf(cfg config.Config, log *zap.Logger) listen.Config {
	return listen.Config{
		Listen: cfg.Listen, HealthListen: cfg.HealthListen, TLSDir: cfg.TLS.Dir, AllowedSANs: cfg.TLS.AllowedSANs,
		Insecure: cfg.TLS.Insecure, Logger: log, Service: server.Interceptor(),
	}
}
