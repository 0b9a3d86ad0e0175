package server_test

import (
	"context"
	"flag"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// allReleases are the supported releases, and releases the tested ones.
var (
	allReleases = []string{"25.04.2", "25.10", "26", "27"}
	releases    = allReleases
)

// TestMain selects two releases with -short, which the race detector runs with, because concurrency does not depend on the
// release.
func TestMain(m *testing.M) {
	flag.Parse()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: askNameServer}
	if testing.Short() {
		releases = []string{"25.04.2", "27"}
	}
	os.Exit(m.Run())
}

// nameServer replaces the machine's name server in a test that sets it.
var nameServer atomic.Pointer[string]

func askNameServer(ctx context.Context, network, address string) (net.Conn, error) {
	if own := nameServer.Load(); own != nil {
		network, address = "udp", *own
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// orFewer returns all if every point is selected, and less otherwise.
func orFewer(t testing.TB, all, less int) int {
	if sampling.All(t) {
		return all
	}
	return less
}

// nasPaths are the datasets of the tests that VMs may use.
var nasPaths = []string{"tank/templates", "tank/old", "flash", "nope"}

// serve makes a provider over a NAS client.
func serve(t testing.TB, nas *truenas.Client, opts ...func(*server.Config)) (providerv1.ProviderClient, *server.Server) {
	t.Helper()
	cfg := server.Config{ID: "test", Dataset: "tank/virtrigaud", Instance: "replica-1", CloneWithin: time.Minute, NASPaths: nasPaths}
	for _, opt := range opts {
		opt(&cfg)
	}
	s, err := server.New(nas, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return servertest.Dial(t, s.Register), s
}

// onRelease makes a provider over a simulated NAS of a release.
func onRelease(t testing.TB, release string, opts ...func(*server.Config)) (providerv1.ProviderClient, *sim.Sim) {
	t.Helper()
	nas, simulated := truenastest.New(t, func(c *sim.Config) { c.Release = release })
	client, _ := serve(t, nas, opts...)
	return client, simulated
}

// refusedWith checks the code of an error and a part of its text.
func refusedWith(t testing.TB, err error, code, text string) {
	t.Helper()
	st := status.Convert(err)
	if st.Code().String() != code || !strings.Contains(st.Message(), text) {
		t.Errorf("got %v %q, want %s with %q", st.Code(), st.Message(), code, text)
	}
}
