// Package servertest connects tests to a provider over gRPC in memory.
//
//	client := servertest.Dial(t, provider.Register)
package servertest

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
)

// Dial serves a provider with the interceptor of the service until the test ends, and returns a client.
func Dial(t testing.TB, register func(grpc.ServiceRegistrar), opts ...grpc.DialOption) providerv1.ProviderClient {
	t.Helper()
	listener := bufconn.Listen(64 << 10) // the buffer of each direction of a connection, in bytes
	g := grpc.NewServer(grpc.UnaryInterceptor(server.Interceptor()))
	register(g)
	go g.Serve(listener) //nolint:errcheck // It ends with the listener.
	conn, err := grpc.NewClient("passthrough:provider", append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
	})
	return providerv1.NewProviderClient(conn)
}
