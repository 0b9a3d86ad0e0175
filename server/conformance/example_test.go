package conformance_test

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/conformance"
)

// Run checks a provider of any hypervisor against the contract. In a test file, the function below is a complete test.
func ExampleRun() {
	_ = func(t *testing.T) {
		conn, err := grpc.NewClient("127.0.0.1:9443", grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		conformance.Run(t, conformance.Target{Client: providerv1.NewProviderClient(conn)})
	}
}
