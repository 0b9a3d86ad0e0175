// Package assemble builds the RPC server and its NAS client from the settings, for the programs that serve the RPCs.
package assemble

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/memory"
	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas"
)

// Provider builds the server. It makes no connection. The second result closes the server and its client. Errors are
// configuration errors.
func Provider(cfg config.Config, log *zap.Logger) (*server.Server, func() error, error) {
	host, _ := os.Hostname()
	// The command may run in the pod of the service. With an identity of its own, the service does not mistake the command's
	// claims for its own.
	return build(cfg, log, observe.Hooks{}, fmt.Sprintf("%s-command-%d", host, os.Getpid()))
}

// Watched builds the server like Provider, with hooks in all its parts.
func Watched(cfg config.Config, log *zap.Logger, hooks observe.Hooks, more ...func(*truenas.Config)) (*server.Server, func() error, error) {
	return build(cfg, log, hooks, "", more...)
}

func build(cfg config.Config, log *zap.Logger, hooks observe.Hooks, instance string, more ...func(*truenas.Config)) (*server.Server, func() error, error) {
	there := Client(cfg, log)
	there.Hooks = hooks.NAS
	for _, change := range more {
		change(&there)
	}
	nas, err := truenas.New(there)
	if err != nil {
		return nil, nil, program.Usage(err)
	}
	provider, err := server.New(nas, server.Config{
		ID: cfg.ID, Dataset: cfg.Storage.Dataset, DefaultNetwork: cfg.Network.DefaultNIC, NetworkBootISO: cfg.Network.BootISO, AdoptedVMs: cfg.AdoptedVMs,
		AllowedPools: cfg.Storage.AllowedPools, ChoosePool: cfg.Storage.ChoosePool,
		Disk: images(cfg.Images, log, hooks), UnusedImages: cfg.Images.UnusedFor, NASPaths: cfg.Images.NASPaths,
		Installation: installation(cfg), Instance: instance, Hooks: hooks.Server, Logger: log,
	})
	if err != nil {
		return nil, nil, program.Usage(errors.Join(err, nas.Close()))
	}
	return provider, func() error { return errors.Join(provider.Close(), nas.Close()) }, nil
}

// patience is how long a command waits for the NAS to log it in. One attempt may take half a minute.
const patience = 45 * time.Second

// Connected builds the server like Provider, for a command, and returns after the login to the NAS. It retries for some time
// while the NAS is unavailable or starting, and returns permanent failures, such as a wrong key, at once.
func Connected(ctx context.Context, cfg config.Config, log *zap.Logger) (*server.Server, func() error, error) {
	provider, closeAll, err := Provider(cfg, log)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := provider.Connect(ctx); err != nil {
		return nil, nil, errors.Join(err, closeAll())
	}
	return provider, closeAll, nil
}

// AfterAnother delays the changes of a provider that may follow a killed one. It sends no changes for a moment after its
// start, and after a link broke during a change, because the NAS may still carry out earlier calls.
func AfterAnother(c *truenas.Config) { c.Holdback = 3 * time.Second }

// Client returns the configuration of the client.
func Client(cfg config.Config, log *zap.Logger) truenas.Config {
	return truenas.Config{
		URL: cfg.TrueNAS.URL, Username: cfg.TrueNAS.Username, APIKey: cfg.TrueNAS.APIKey.Reveal(), CA: cfg.TrueNAS.CA,
		Fingerprint: cfg.TrueNAS.Fingerprint, InsecureSkipVerify: cfg.TrueNAS.InsecureSkipVerify, Logger: log.Named("truenas"),
	}
}

func images(cfg config.Images, log *zap.Logger, hooks observe.Hooks) disk.Options {
	bytes := cfg.MemoryMiB << 20
	if bytes == 0 {
		bytes = memory.ForImages(memory.Limit(os.DirFS("/")))
	}
	return disk.Options{
		MaxMemory:       bytes,
		MaxVirtualBytes: cfg.MaxGiB << 30, MaxExpansion: cfg.MaxExpansion, AllowAddresses: cfg.AllowAddresses, FileRoots: cfg.FileRoots,
		PlainHTTPRegistries: cfg.PlainHTTPRegistries, DockerConfig: cfg.DockerConfig, Proxy: http.ProxyFromEnvironment, Logger: log.Named("image"),
		OnBytes: hooks.Images,
		S3: disk.S3{
			Endpoint: cfg.S3.Endpoint, Region: cfg.S3.Region, PathStyle: cfg.S3.PathStyle,
			Credentials: disk.Credentials{AccessKeyID: cfg.S3.AccessKeyID, SecretAccessKey: cfg.S3.SecretAccessKey.Reveal()},
		},
	}
}
