package assemble

import (
	"errors"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/cmd/internal/observe"
	"virtrigaud-provider-truenas/server"
)

// Inside serves the RPCs of a provider on a unix socket in a private folder, and returns a client, which calls the provider as
// any client of the contract does. closeAll cancels the calls in flight and ends the service, not the provider.
func Inside(provider *server.Server, watching *observe.Observer) (client providerv1.ProviderClient, closeAll func() error, err error) {
	dir, err := os.MkdirTemp("", "provider-") // mode 0700
	if err != nil {
		return nil, nil, err
	}
	socket := filepath.Join(dir, "provider.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	service := grpc.NewServer(append(watching.Options(), grpc.ChainUnaryInterceptor(append(watching.Interceptors(), server.Interceptor())...))...)
	provider.Register(service)
	conn, err := grpc.NewClient("unix:"+socket, append(watching.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close(), os.RemoveAll(dir))
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = service.Serve(listener) }()
	return providerv1.NewProviderClient(conn), func() error {
		failed := conn.Close()
		service.Stop()
		<-ended
		return errors.Join(failed, os.RemoveAll(dir))
	}, nil
}
