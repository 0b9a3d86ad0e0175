package omni

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/siderolabs/omni/client/api/omni/specs"
	"github.com/siderolabs/omni/client/pkg/infra/imagefactory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// life is the life of one machine under one fault: its request is created, provisioned and released. Each life has its own Omni,
// adapter, provider and NAS.
type life struct {
	*world
	nas     *sim.Sim
	address *sim.Server
	link    *link

	restarts sync.WaitGroup // in progress
	turn     sync.Mutex     // serializes restarts of the adapter
	end      func()         // stops the adapter

	mu       sync.Mutex
	listener *bufconn.Listener
	stop     func() // stops the provider
}

// ends are the expected states of the NAS: with the machine, and after its removal.
type ends struct{ with, without sim.State }

// newLife makes all parts except the adapter. All lives share the image factory, because its address is part of an image's
// identity.
func newLife(t *testing.T, release, factory string) *life {
	l := &life{link: &link{}}
	l.nas, l.address = truenastest.Serve(t, truenastest.Release(release))
	l.serve(t)
	t.Cleanup(func() { l.kill() })
	conn, err := grpc.NewClient("passthrough:provider", l.link.option(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 5 * time.Millisecond, Multiplier: 1, MaxDelay: 5 * time.Millisecond}, MinConnectTimeout: time.Second}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.reached().DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	l.world = newWorld(t, Backend{Name: "nas", Client: providerv1.NewProviderClient(conn)})
	l.cfg.FactoryURL = factory
	if l.cfg.Factory, err = imagefactory.NewDirectClient(imagefactory.ClientOptions{FactoryEndpoint: factory}); err != nil {
		t.Fatal(err)
	}
	l.cfg.WatchInterval, l.cfg.HealthInterval = time.Hour, longest // Their calls would count too.
	l.cfg.Pace = Pace{Poll: 5 * time.Millisecond, Retry: 10 * time.Millisecond}
	return l
}

// restartAdapter replaces the adapter with a new one, which knows only the records in Omni.
func (l *life) restartAdapter() {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.end()
	_, l.end = l.start()
}

func (l *life) reached() *bufconn.Listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listener
}

// serve starts a provider, which knows only the state of the NAS.
func (l *life) serve(t *testing.T) {
	cfg := truenastest.Config(l.address)
	nas, err := truenas.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(nas, server.Config{
		ID: "nas", Dataset: "tank/virtrigaud", Instance: "replica-1", DefaultNetwork: "br0", Installation: server.Installation{ID: "sweep"},
		Disk: disk.Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.UnaryInterceptor(server.Interceptor()))
	s.Register(g)
	listener := bufconn.Listen(1 << 20)
	served := make(chan struct{})
	go func() { defer close(served); _ = g.Serve(listener) }() // It ends with the listener.
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener, l.stop = listener, sync.OnceFunc(func() {
		_ = s.Close()
		_ = nas.Close()
		g.Stop()
		<-served
	})
}

func (l *life) kill() {
	l.mu.Lock()
	stop := l.stop
	l.mu.Unlock()
	stop()
}

// take runs the life. It retries a failed request, as the SDK does after a minute.
func (l *life) take(t *testing.T) ends {
	l.turn.Lock()
	_, l.end = l.start()
	l.turn.Unlock()
	l.disks = 2
	l.request("one", sweptClass)
	for range tries {
		until(t, "the request is provisioned or failed", func() bool {
			stage := l.status("one").TypedSpec().Value.GetStage()
			return stage == specs.MachineRequestStatusSpec_PROVISIONED || stage == specs.MachineRequestStatusSpec_FAILED
		})
		if l.status("one").TypedSpec().Value.GetStage() == specs.MachineRequestStatusSpec_PROVISIONED {
			break
		}
		l.restartAdapter()
	}
	l.complete(l.nas, "one")
	if names := slices.Sorted(maps.Keys(l.patches("one"))); !slices.Equal(names, []string{"advertised-subnets", "mtu", "user-volumes"}) {
		t.Errorf("the patches are %v", names)
	}
	with := settled(l.nas.State())
	l.checkRelease(l.nas, "one")
	l.nas.OnCall(nil)
	l.restarts.Wait()
	l.end()
	return ends{with, settled(l.nas.State())}
}

// sweptClass has settings of all kinds: of the VM, of its configuration and of its image.
const sweptClass = class + "mtu: 9000\nadvertised_subnets: [192.0.2.0/24]\nextensions: [siderolabs/iscsi-tools]\nadditional_disks: [{size: 1, name: data, filesystem: xfs, bus: ahci}]\n"

// tries is the number of attempts for a failed request.
const tries = 6

// settled removes the differences between two lives from a state: times, and the bytes of a seed, which contain a token.
func settled(s sim.State) sim.State {
	for i, d := range s.Datasets {
		delete(d.User, "virtrigaud:used")
		delete(d.User, "virtrigaud:prepared-at")
		maps.DeleteFunc(d.User, func(key, _ string) bool { return strings.HasPrefix(key, "virtrigaud:installation-") }) // It has a random id.
		for n := range d.Files {
			s.Datasets[i].Files[n].Hash, s.Datasets[i].Files[n].Path = "", ""
		}
	}
	for i := range s.Snapshots {
		delete(s.Snapshots[i].User, "virtrigaud:used")
		delete(s.Snapshots[i].User, "virtrigaud:prepared-at")
	}
	for i, vm := range s.VMs {
		for n, d := range vm.Devices {
			s.VMs[i].Devices[n].Order = n
			if d.Attributes["dtype"] == "CDROM" {
				d.Attributes["path"] = ""
			}
		}
	}
	return s
}

// fault injects one kind of fault at the n-th call.
type fault struct {
	name   string
	inject func(t *testing.T, l *life, n int)
}

func TestMachinesThroughEveryFault(t *testing.T) {
	factory := httptest.NewServer(&standin.Factory{})
	t.Cleanup(factory.Close)
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			reference := newLife(t, release, factory.URL)
			want := reference.take(t)
			calls, rpcs := len(reference.nas.Calls()), len(reference.link.made())
			points := map[string]func(*testing.T){}
			add := func(of string, count int, list []fault) {
				before := len(points)
				for i, m := range list {
					for n := 1; n <= count; n++ {
						if !due(release, i+n) {
							continue
						}
						points[fmt.Sprintf("%s/%s/call %d of %d", of, m.name, n, count)] = func(t *testing.T) {
							l := newLife(t, release, factory.URL)
							m.inject(t, l, n)
							if got := l.take(t); !reflect.DeepEqual(got, want) {
								t.Errorf("the NAS differs from an undisturbed run: %s", changed(want, got))
							}
						}
					}
				}
				t.Logf("%s: %d calls, %d points", of, count, len(points)-before)
			}
			add("NAS", calls, nasFaults())
			add("RPC", rpcs, rpcFaults())
			sampling.Run(t, points)
		})
	}
}

// due reports whether a fault is injected at a call on a release. Each fault is injected at each call on one of the four
// releases, because the adapter's behavior does not depend on the release.
func due(release string, nth int) bool {
	return (nth+map[string]int{"25.04.2": 0, "25.10": 1, "26": 2, "27": 3}[release])%4 == 0
}

// changed returns the lines in which two ends differ.
func changed(want, got ends) string {
	var b strings.Builder
	for _, pair := range []struct {
		when      string
		want, got sim.State
	}{{"with the machine", want.with, got.with}, {"without it", want.without, got.without}} {
		before, after := stateLines(pair.want), stateLines(pair.got)
		for _, line := range before {
			if !slices.Contains(after, line) {
				fmt.Fprintf(&b, "\n%s, missing: %s", pair.when, line)
			}
		}
		for _, line := range after {
			if !slices.Contains(before, line) {
				fmt.Fprintf(&b, "\n%s, new: %s", pair.when, line)
			}
		}
	}
	return b.String()
}

// stateLines returns a line for each object on a NAS.
func stateLines(s sim.State) []string {
	var lines []string
	for _, vm := range s.VMs {
		lines = append(lines, fmt.Sprintf("%+v", vm))
	}
	for _, d := range s.Datasets {
		lines = append(lines, fmt.Sprintf("%+v", d))
	}
	for _, snap := range s.Snapshots {
		lines = append(lines, fmt.Sprintf("%+v", snap))
	}
	return lines
}
