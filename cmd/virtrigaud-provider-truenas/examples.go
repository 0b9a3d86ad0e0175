package main

import (
	"context"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// webRequest is a request of the manager for a VM with all optional parts. Its payloads have PascalCase keys.
func webRequest() *providerv1.CreateRequest {
	return &providerv1.CreateRequest{
		Name:         "web",
		ClassJson:    `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20}}`,
		ImageJson:    `{"Path":"` + goldenImage + `"}`,
		NetworksJson: `[{"Name":"eth0","Bridge":"br0","StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1","DNS":"192.0.2.53"}]`,
		DisksJson:    `[{"Name":"data","SizeGiB":5,"Type":"thin"}]`,
		UserData:     []byte("#cloud-config\nhostname: web\n"),
	}
}

// printExamples creates a VM through the service, so that the printed commands contain an existing id.
func printExamples(ctx context.Context, out io.Writer, service, health net.Addr, page bool) {
	address := service.String()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		_, _ = fmt.Fprintf(out, "no examples: %v\n", err)
		return
	}
	defer func() { _ = conn.Close() }()
	web, err := providerv1.NewProviderClient(conn).Create(ctx, webRequest())
	if err != nil {
		_, _ = fmt.Fprintf(out, "no examples: %v\n", err)
		return
	}
	line := func(method string, request proto.Message) {
		const service = "provider.v1.Provider/"
		if request == nil {
			_, _ = fmt.Fprintf(out, "  grpcurl -plaintext %s %s%s\n", address, service, method)
			return
		}
		_, _ = fmt.Fprintf(out, "  grpcurl -plaintext -d '%s' %s %s%s\n", protojson.MarshalOptions{}.Format(request), address, service, method)
	}
	_, _ = fmt.Fprintf(out, `
The service is on %s, with a simulated NAS. Try these; grpcurl comes with
  go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4

  grpcurl -plaintext %[1]s list
  grpcurl -plaintext %[1]s describe provider.v1.Provider
`, address)
	line("Validate", nil)
	line("ListVMs", nil)
	line("Create", webRequest())
	line("Power", &providerv1.PowerRequest{Id: web.GetId(), Op: providerv1.PowerOp_POWER_OP_ON})
	line("Describe", &providerv1.DescribeRequest{Id: web.GetId()})
	line("Delete", &providerv1.DeleteRequest{Id: web.GetId()})
	_, _ = fmt.Fprintln(out)
	if health == nil {
		return
	}
	if page {
		_, _ = fmt.Fprintf(out, "The status page is at http://%s/\n", reachable(health))
	}
	_, _ = fmt.Fprintf(out, "The metrics are at http://%s/metrics\n\n", reachable(health))
}

// reachable returns an address for clients on this host. A service on all addresses is reachable on loopback.
func reachable(address net.Addr) string {
	host, port, err := net.SplitHostPort(address.String())
	if ip := net.ParseIP(host); err == nil && (ip == nil || ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address.String()
}
