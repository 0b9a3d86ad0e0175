package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/cmd/internal/assemble"
	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/truenas"
)

// backends returns the providers that create the machines: those of --provider, or the one inside this program.
func backends(o *options, lookupEnv func(string) (string, bool), log *zap.Logger, watching *observe.Observer) ([]omni.Backend, func() error, error) {
	if len(o.providers) == 0 {
		return inside(o, lookupEnv, log, watching)
	}
	transport, err := o.transport()
	if err != nil {
		return nil, nil, program.Usage(err)
	}
	var list []omni.Backend
	var conns []*grpc.ClientConn
	closeAll := func() error {
		var failed []error
		for _, conn := range conns {
			failed = append(failed, conn.Close())
		}
		return errors.Join(failed...)
	}
	for _, text := range o.providers {
		name, address := named(text)
		conn, err := grpc.NewClient(address, append(watching.DialOptions(), grpc.WithTransportCredentials(transport),
			grpc.WithUserAgent("omni-infra-provider-truenas"), // Errors of this client keep their codes: the circuit breaker applies to the manager.
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))...)
		if err != nil {
			return nil, nil, errors.Join(program.Usage(fmt.Errorf("--provider %s: %w", text, err)), closeAll())
		}
		conns = append(conns, conn)
		list = append(list, omni.Backend{Name: name, FailureDomain: o.failureDomain(name), Client: providerv1.NewProviderClient(conn)})
	}
	return list, closeAll, nil
}

// inside returns the provider inside this program, for the configured NAS.
func inside(o *options, lookupEnv func(string) (string, bool), log *zap.Logger, watching *observe.Observer) ([]omni.Backend, func() error, error) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.String("config", o.config, "")
	flags.String("credentials-dir", o.credentials, "")
	cfg, err := config.Load(flags, owning(o.id, lookupEnv))
	if err != nil {
		return nil, nil, program.Usage(err)
	}
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	client, closeAll, err := serveInside(cfg, log, watching, assemble.AfterAnother)
	if err != nil {
		return nil, nil, err
	}
	return []omni.Backend{{Name: unnamed, FailureDomain: o.failureDomain(unnamed), Client: client}}, closeAll, nil
}

// owning adds a default id to the environment, so that the NAS distinguishes the adapter's objects from those of other providers.
func owning(id string, lookupEnv func(string) (string, bool)) func(string) (string, bool) {
	return func(name string) (string, bool) {
		text, ok := lookupEnv(name)
		if name == "PROVIDER_ID" && text == "" {
			return "omni." + id, true
		}
		return text, ok
	}
}

// asInside makes "config check" use the settings of the provider inside the program: common flags and variables have the same
// meaning, and the id is the adapter's.
func asInside(flags *pflag.FlagSet, lookupEnv func(string) (string, bool)) (func(string) (string, bool), error) {
	if elsewhere, _ := lookupEnv(variables("provider")[0]); strings.TrimSpace(elsewhere) != "" {
		return nil, fmt.Errorf("%s names providers that run elsewhere, so this program has no settings of a NAS: run config check of each of these providers", variables("provider")[0])
	}
	given := map[string]string{}
	for _, name := range []string{"id", "config", "credentials-dir"} {
		fromVariable, _ := lookupEnv(variables(name)[0])
		given[name] = cmp.Or(flags.Lookup(name).Value.String(), strings.TrimSpace(fromVariable))
	}
	lookupEnv = owning(cmp.Or(given["id"], defaultID), lookupEnv)
	given["id"] = "" // Of the provider it would be another's.
	for name, value := range given {
		if err := flags.Set(name, value); err != nil {
			return nil, err
		}
	}
	return lookupEnv, nil
}

// serveInside runs a provider in this process and returns a client for it, because the adapter calls all providers in the same
// way.
func serveInside(cfg config.Config, log *zap.Logger, watching *observe.Observer, more ...func(*truenas.Config)) (client providerv1.ProviderClient, closeAll func() error, err error) {
	provider, closeProvider, err := assemble.Watched(cfg, log, watching.Hooks(), more...)
	if err != nil {
		return nil, nil, err
	}
	client, closeService, err := assemble.Inside(provider, watching)
	if err != nil {
		return nil, nil, errors.Join(err, closeProvider())
	}
	watching.Watch(provider)
	beside, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = provider.Run(beside) }()
	return client, func() error {
		failed := closeService()
		stop()
		<-ended
		return errors.Join(failed, closeProvider())
	}, nil
}
