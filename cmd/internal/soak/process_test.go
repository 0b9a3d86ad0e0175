package soak

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/listen"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// process is a deployed provider: a client of the NAS, the RPCs, and a port. It can be killed and restarted; callers keep their
// connection.
type process struct {
	id, instance string
	cluster      string
	cfg          truenas.Config
	claims       string // folder of pvc:// URLs
	client       providerv1.ProviderClient

	life    sync.Mutex // held during a start or an end
	kill    func()     // ends the process at once
	stop    func()     // completes calls in flight first
	mu      sync.Mutex
	address string // empty while it does not run
}

var errDown = errors.New("the process does not run")

func newProcess(t *testing.T, address *sim.Server, cluster, id, instance, claims string) *process {
	p := &process{cluster: cluster, id: id, instance: instance, cfg: truenastest.Config(address), claims: claims}
	p.cfg.PlainLogin = true                          // This test does not need the slow key derivation of SCRAM.
	p.cfg.Holdback = time.Second                     // Calls are delayed by at most half a second.
	p.cfg.LoginEvery = 10 * time.Second / clockSpeed // The simulator's clock runs faster, and so does its login rate limit.
	conn, err := grpc.NewClient("passthrough:"+instance, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(p.dial), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}}))
	if err != nil {
		t.Fatal(err)
	}
	p.client = providerv1.NewProviderClient(conn)
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		p.life.Lock()
		defer p.life.Unlock()
		p.stop()
	})
	return p
}

func (p *process) dial(ctx context.Context, _ string) (net.Conn, error) {
	p.mu.Lock()
	address := p.address
	p.mu.Unlock()
	if address == "" {
		return nil, errDown
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// start is called with life locked, or before other goroutines use the process.
func (p *process) start() error {
	nas, err := truenas.New(p.cfg)
	if err != nil {
		return err
	}
	cfg := server.Config{ID: p.id, Dataset: root, Instance: p.instance, DefaultNetwork: "br0", NASPaths: []string{"tank/templates"}, LeaseFor: 3 * time.Second, Installation: installation(p.cluster)}
	cfg.Disk.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	cfg.Disk.StagingRoot = p.claims
	s, err := server.New(nas, cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	listening := make(chan string, 1)
	go func() {
		defer close(ended)
		_ = listen.Serve(ctx, listen.Config{ // A kill cancels calls in flight.
			Listen: "127.0.0.1:0", Grace: 2 * time.Second, Logger: zap.NewNop(), Service: server.Interceptor(),
			Listening: func(service, _ net.Addr) { listening <- service.String() },
		}, s.Register, s.Ready)
	}()
	p.stop = func() {
		cancel()
		<-ended
		_ = s.Close()
		_ = nas.Close()
	}
	p.kill = func() {
		_ = nas.Close() // From here on the NAS receives no calls of it.
		p.stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = <-listening
	return nil
}

// restart stops the process, gracefully or not, and starts it again.
func (p *process) restart(graceful bool) error {
	p.life.Lock()
	defer p.life.Unlock()
	p.mu.Lock()
	p.address = ""
	p.mu.Unlock()
	if graceful {
		p.stop()
	} else {
		p.kill()
	}
	return p.start()
}
