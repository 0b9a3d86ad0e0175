package main

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas"
)

// runProvider reads the configuration, says everything that is wrong with it at once, and serves until ctx ends.
// listening, when set, is told the address.
func runProvider(ctx context.Context, flags *pflag.FlagSet, lookupEnv func(string) (string, bool), listening func(address string)) error {
	cfg, err := config.Load(flags, lookupEnv)
	offer := offerOf(cfg, zap.NewNop())
	if err := errors.Join(err, offer.Validate()); err != nil {
		return usage{err}
	}
	log, err := newLogger(cfg.Log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }()
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	if offer.Plaintext() {
		log.Warn("the service is offered to other machines unencrypted, because VIRTRIGAUD_PROVIDER_INSECURE is set")
	}
	err = serve(ctx, cfg, log, func(service, health net.Addr) {
		log.Info("serving", zap.Stringer("address", service), zap.Any("health", health), zap.String("id", cfg.ID),
			zap.String("nas", cfg.TrueNAS.URL), zap.String("dataset", cfg.Storage.Dataset))
		if listening != nil {
			listening(service.String())
		}
	})
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// assemble puts the RPCs on a client of the NAS. It dials nothing.
func assemble(cfg config.Config, log *zap.Logger) (*server.Server, func(), error) {
	nas, err := truenas.New(clientOf(cfg, log))
	if err != nil {
		return nil, nil, usage{err}
	}
	provider, err := server.New(nas, server.Config{
		ID: cfg.ID, Dataset: cfg.Storage.Dataset, DefaultNetwork: cfg.Network.DefaultNIC, AdoptedVMs: cfg.AdoptedVMs,
		Disk: imagesOf(cfg.Images, log), UnusedImages: cfg.Images.UnusedFor, Logger: log,
	})
	if err != nil {
		_ = nas.Close()
		return nil, nil, usage{err}
	}
	return provider, func() {
		if err := errors.Join(provider.Close(), nas.Close()); err != nil {
			log.Warn("not everything was closed", zap.Error(err))
		}
	}, nil
}

// serve offers the RPCs as a gRPC service until ctx ends.
func serve(ctx context.Context, cfg config.Config, log *zap.Logger, listening func(service, health net.Addr)) error {
	provider, closeAll, err := assemble(cfg, log)
	if err != nil {
		return err
	}
	defer closeAll()
	offer := offerOf(cfg, log)
	offer.Listening = listening

	// What runs beside the calls ends after the last of them, not with the signal.
	group, ctx := errgroup.WithContext(ctx)
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group.Go(func() error { return provider.Run(beside) })
	group.Go(func() error {
		defer stop()
		return server.Serve(ctx, offer, provider.Register, provider.Ready)
	})
	return group.Wait()
}

func clientOf(cfg config.Config, log *zap.Logger) truenas.Config {
	return truenas.Config{
		URL: cfg.TrueNAS.URL, Username: cfg.TrueNAS.Username, APIKey: cfg.TrueNAS.APIKey.Reveal(), CA: cfg.TrueNAS.CA,
		Fingerprint: cfg.TrueNAS.Fingerprint, InsecureSkipVerify: cfg.TrueNAS.InsecureSkipVerify, Logger: log.Named("truenas"),
	}
}

func imagesOf(cfg config.Images, log *zap.Logger) disk.Options {
	return disk.Options{
		MaxVirtualBytes: cfg.MaxGiB << 30, MaxExpansion: cfg.MaxExpansion, AllowAddresses: cfg.AllowAddresses, FileRoots: cfg.FileRoots,
		PlainHTTPRegistries: cfg.PlainHTTPRegistries, DockerConfig: cfg.DockerConfig, Proxy: http.ProxyFromEnvironment, Logger: log.Named("image"),
		S3: disk.S3{
			Endpoint: cfg.S3.Endpoint, Region: cfg.S3.Region, PathStyle: cfg.S3.PathStyle,
			Credentials: disk.Credentials{AccessKeyID: cfg.S3.AccessKeyID, SecretAccessKey: cfg.S3.SecretAccessKey.Reveal()},
		},
	}
}

func offerOf(cfg config.Config, log *zap.Logger) server.ServeConfig {
	return server.ServeConfig{
		Listen: cfg.Listen, HealthListen: cfg.HealthListen, TLSDir: cfg.TLS.Dir, AllowedSANs: cfg.TLS.AllowedSANs,
		Insecure: cfg.TLS.Insecure, Logger: log,
	}
}

// newLogger writes to the standard error.
func newLogger(cfg config.Log) (*zap.Logger, error) {
	z := zap.NewProductionConfig()
	if cfg.Format == "console" {
		z = zap.NewDevelopmentConfig()
		z.Development, z.DisableCaller = false, true
	}
	z.DisableStacktrace, z.Sampling = true, nil
	if err := z.Level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, err
	}
	return z.Build()
}
