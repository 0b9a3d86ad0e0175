package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/cmd/internal/assemble"
	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/server"
)

// behind are the providers that machines are made by: those of --provider, or the one inside this program.
func behind(o *options, lookupEnv func(string) (string, bool), log *zap.Logger, watching *observe.Observer) ([]omni.Behind, func() error, error) {
	if len(o.providers) == 0 {
		return inside(o, lookupEnv, log, watching)
	}
	transport, err := o.transport()
	if err != nil {
		return nil, nil, program.Usage(err)
	}
	var list []omni.Behind
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
			grpc.WithUserAgent("omni-infra-provider-truenas"), // told trouble as it is
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))...)
		if err != nil {
			return nil, nil, errors.Join(program.Usage(fmt.Errorf("--provider %s: %w", text, err)), closeAll())
		}
		conns = append(conns, conn)
		list = append(list, omni.Behind{Name: name, Client: providerv1.NewProviderClient(conn)})
	}
	return list, closeAll, nil
}

// inside is the provider of the NAS that the settings name, within this program.
func inside(o *options, lookupEnv func(string) (string, bool), log *zap.Logger, watching *observe.Observer) ([]omni.Behind, func() error, error) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.String("config", o.config, "")
	flags.String("credentials-dir", o.credentials, "")
	cfg, err := config.Load(flags, func(name string) (string, bool) {
		text, ok := lookupEnv(name)
		if name == "PROVIDER_ID" && text == "" {
			return "omni." + o.id, true // What is made on the NAS is this adapter's, and no other provider's there.
		}
		return text, ok
	})
	if err != nil {
		return nil, nil, program.Usage(err)
	}
	for _, warning := range cfg.Warnings {
		log.Warn(warning)
	}
	client, closeAll, err := serveInside(cfg, log, watching)
	if err != nil {
		return nil, nil, err
	}
	return []omni.Behind{{Name: unnamed, Client: client}}, closeAll, nil
}

// serveInside offers the RPCs on a unix socket in a folder that nobody else can enter, and calls them there: the adapter
// has one way to call a provider, wherever that is.
func serveInside(cfg config.Config, log *zap.Logger, watching *observe.Observer) (client providerv1.ProviderClient, closeAll func() error, err error) {
	provider, closeProvider, err := assemble.Watched(cfg, log, watching.Hooks())
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "omni-provider-") // 0700
	if err != nil {
		return nil, nil, errors.Join(err, closeProvider())
	}
	socket := filepath.Join(dir, "provider.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir), closeProvider())
	}
	watching.Watch(provider)
	service := grpc.NewServer(append(watching.Options(), grpc.ChainUnaryInterceptor(append(watching.Interceptors(), server.Interceptor())...))...)
	provider.Register(service)
	conn, err := grpc.NewClient("unix:"+socket, append(watching.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close(), os.RemoveAll(dir), closeProvider())
	}
	beside, stop := context.WithCancel(context.Background())
	ended := make(chan struct{}, 2)
	go func() { _ = service.Serve(listener); ended <- struct{}{} }()
	go func() { _ = provider.Run(beside); ended <- struct{}{} }()
	return providerv1.NewProviderClient(conn), func() error {
		failed := conn.Close()
		service.Stop()
		stop()
		<-ended
		<-ended
		return errors.Join(failed, closeProvider(), os.RemoveAll(dir))
	}, nil
}
