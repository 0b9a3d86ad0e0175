package server_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// Two processes serve one provider during a rolling restart, and both may get the same request: the delay of the slower one at a
// call, the caller's wait before a retry, and the number of retries.
const (
	heldUp     = 25 * time.Millisecond
	replicaGap = 50 * time.Millisecond
	replicaTry = 100
)

// sweepReplicas runs an operation with two providers, where the second begins when the first is at its n-th call to the NAS, for
// every n, and both at once. The result is the same as with one provider.
func sweepReplicas(t *testing.T, release string, op operation) {
	s := setStage(t, release, op)
	points := map[string]func(*testing.T){}
	for n := 0; n <= len(s.methods); n++ {
		name := fmt.Sprintf("%s/the second at call %d of %d", op.name, n, len(s.methods))
		if n == 0 {
			name = op.name + "/both at once"
		}
		points[name] = func(t *testing.T) { s.byTwo(t, n) }
	}
	t.Logf("%s by two providers: %d points", op.name, len(points))
	sampling.Run(t, points)
}

func (s *swept) byTwo(t *testing.T, n int) {
	p := s.point(t)
	first, second := p.replica(t, "replica-1"), p.replica(t, "replica-2")
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	if n == 0 {
		begin()
	} else {
		p.nas.OnCall(func(i int, _ string) {
			if i == n {
				begin()
			}
		})
		p.nas.Inject(sim.Fault{Nth: n, Then: sim.Delay, Delay: heldUp})
	}
	var all sync.WaitGroup
	all.Go(func() {
		defer begin() // The first may need fewer calls than alone.
		p.retryUntilSuccess(t, first)
	})
	all.Go(func() {
		<-begun
		other := *p
		other.manager++
		other.retryUntilSuccess(t, second)
	})
	all.Wait()
	if got, want := nicsByMAC(settled(p.nas.State())), nicsByMAC(s.want); !reflect.DeepEqual(got, want) {
		t.Errorf("the NAS differs from an undisturbed run:\n%s", changes(t, want, got))
	}
}

// nicsByMAC sorts the NICs of each VM: two replicas may make them in either order, and the guest's seed identifies each by its MAC
// address.
func nicsByMAC(s sim.State) sim.State {
	s.VMs = slices.Clone(s.VMs)
	for i := range s.VMs {
		devices := slices.Clone(s.VMs[i].Devices)
		slices.SortStableFunc(devices, func(a, b sim.DeviceState) int {
			return strings.Compare(fmt.Sprint(a.Attributes["mac"]), fmt.Sprint(b.Attributes["mac"]))
		})
		for n := range devices {
			devices[n].Order = n
		}
		s.VMs[i].Devices = devices
	}
	return s
}

// replica starts one of several providers with the same id.
func (p *point) replica(t *testing.T, instance string) providerv1.ProviderClient {
	client, stop := startProvider(t, p.address, append(p.op.options, func(c *server.Config) { c.Instance, c.LeaseFor = instance, 3*time.Second })...)
	t.Cleanup(stop)
	return client
}

// retryUntilSuccess retries until success, as the manager does with longer pauses.
func (p *point) retryUntilSuccess(t *testing.T, client providerv1.ProviderClient) {
	var err error
	for range replicaTry {
		if err = p.with(t, client); err == nil {
			return
		}
		pause, cancel := context.WithTimeout(t.Context(), replicaGap)
		<-pause.Done()
		cancel()
	}
	t.Errorf("after %d tries: %v", replicaTry, err)
}

func TestTwoProvidersAtOnce(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			depot := newDepot(t)
			for _, op := range operationsOn(t, release, depot) {
				sweepReplicas(t, release, op)
			}
		})
	}
}
