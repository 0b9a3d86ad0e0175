package omni

import (
	"context"
	"errors"
	"flag"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/api/omni/specs"
	"github.com/siderolabs/omni/client/pkg/infra/imagefactory"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestMain selects one release with -short. The race detector runs that way, because concurrency does not depend on the release.
func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		releases = []string{"25.10"}
	}
	goleak.VerifyTestMain(m)
}

// releases are the releases of the simulator.
var releases = []string{"25.04.2", "25.10", "26", "27"}

const (
	providerID = "truenas"
	talos      = "1.12.3"
	class      = "cores: 2\nmemory: 2048\ndisk_size: 10\nstorage_pool: tank\n"
	patience   = 20 * time.Second
)

// onNAS starts a provider on a simulated NAS.
func onNAS(t testing.TB, release string, configure func(*sim.Config), opts ...grpc.DialOption) (providerv1.ProviderClient, *sim.Sim) {
	t.Helper()
	nas, simulated := truenastest.New(t, func(c *sim.Config) {
		c.Release = release
		if configure != nil {
			configure(c)
		}
	})
	s, err := server.New(nas, server.Config{
		ID: "nas", Dataset: "tank/virtrigaud", Instance: "replica-1", DefaultNetwork: "br0",
		Disk: disk.Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return servertest.Dial(t, s.Register, opts...), simulated
}

// world is an Omni with an image factory, for one or several provisioners.
type world struct {
	t       testing.TB
	omni    state.State
	factory *standin.Factory
	url     string
	cfg     Config
	disks   int // of each machine; 0: only that of the Talos installation
}

func newWorld(t testing.TB, providers ...Backend) *world {
	t.Helper()
	w := &world{t: t, factory: &standin.Factory{}}
	web := httptest.NewServer(w.factory)
	t.Cleanup(web.Close)
	w.url = web.URL
	var err error
	if w.omni, err = standin.Omni(t.Context(), providerID, web.URL); err != nil {
		t.Fatal(err)
	}
	schematics, err := imagefactory.NewDirectClient(imagefactory.ClientOptions{FactoryEndpoint: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{
		ID: providerID, Providers: providers, State: w.omni, Factory: schematics, Origin: "omni.example", Logger: logger(t),
		Pace: Pace{Poll: 20 * time.Millisecond, Retry: 50 * time.Millisecond}, WatchInterval: 100 * time.Millisecond, HealthInterval: 100 * time.Millisecond,
		StopTimeout: 2 * time.Second,
	}
	return w
}

// logger is silent unless OMNI_TEST_LOG is set.
func logger(t testing.TB) *zap.Logger {
	if os.Getenv("OMNI_TEST_LOG") == "" {
		return zap.NewNop()
	}
	log, err := zap.NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// start runs a provisioner until stop is called, or the test ends.
func (w *world) start(wrap ...func(provisioner) provisioner) (p *Provisioner, stop func()) {
	w.t.Helper()
	p, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	var steps provisioner = p
	for _, f := range wrap {
		steps = f(steps)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx, steps) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Errorf("the provisioner ended: %v", err)
		}
	}
	w.t.Cleanup(stop)
	return p, stop
}

func (w *world) request(id string, class string) {
	w.t.Helper()
	if err := standin.Request(w.t.Context(), w.omni, providerID, id, "workers", talos, class); err != nil {
		w.t.Fatal(err)
	}
}

// until polls until a condition holds.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
		time.Sleep(5 * time.Millisecond) // There is no event to wait for.
	}
}

func (w *world) status(id string) *infrares.MachineRequestStatus {
	status, err := safe.ReaderGetByID[*infrares.MachineRequestStatus](w.t.Context(), w.omni, id)
	if err != nil {
		return infrares.NewMachineRequestStatus(id)
	}
	return status
}

// provisioned waits until a request is provisioned, and returns its record.
func (w *world) provisioned(id string) *machine.MachineSpec {
	w.t.Helper()
	var last *specs.MachineRequestStatusSpec
	deadline := time.Now().Add(patience)
	for {
		last = w.status(id).TypedSpec().Value
		if last.GetStage() == specs.MachineRequestStatusSpec_PROVISIONED {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("request %s is not provisioned: %v", id, last)
		}
		time.Sleep(5 * time.Millisecond) // A watch of Omni's state would need a deadline.
	}
	note := w.note(id)
	if note == nil {
		w.t.Fatalf("request %s has no record", id)
	}
	return note.TypedSpec().Value
}

func (w *world) note(id string) *machine.Machine {
	note, err := safe.ReaderGetByID[*machine.Machine](w.t.Context(), w.omni, id)
	if err != nil {
		return nil
	}
	return note
}

// failed waits until a request's error contains a text.
func (w *world) failed(id, text string) *specs.MachineRequestStatusSpec {
	w.t.Helper()
	until(w.t, "request "+id+" fails with "+text, func() bool {
		return strings.Contains(w.status(id).TypedSpec().Value.GetError(), text)
	})
	return w.status(id).TypedSpec().Value
}

func (w *world) release(id string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := standin.Release(ctx, w.omni, id); err != nil {
		w.t.Fatal(err)
	}
	if w.note(id) != nil {
		w.t.Errorf("the released request %s still has a record", id)
	}
}

// health waits until the health text contains a text, or is empty for "".
func (w *world) health(text string) {
	w.t.Helper()
	said := ""
	until(w.t, "the health text says "+text, func() bool {
		status, err := safe.ReaderGetByID[*infrares.ProviderHealthStatus](w.t.Context(), w.omni, providerID)
		if err != nil {
			return false
		}
		said = status.TypedSpec().Value.GetError()
		return text == "" && said == "" || text != "" && strings.Contains(said, text)
	})
}

// machines returns the names of the VMs on a NAS.
func machines(nas *sim.Sim) []string {
	var names []string
	for _, vm := range nas.VMs() {
		names = append(names, vm.Name)
	}
	slices.Sort(names)
	return names
}

// leftovers returns the objects of the provider that remain on a NAS.
func leftovers(nas *sim.Sim) []string {
	left := machines(nas)
	for _, d := range nas.State().Datasets {
		if strings.HasPrefix(d.Name, "tank/virtrigaud/vms/") || strings.HasPrefix(d.Name, "tank/virtrigaud/staging/") {
			left = append(left, d.Name)
		}
	}
	return left
}

func vmOf(t testing.TB, nas *sim.Sim, uuid string) sim.VMState {
	t.Helper()
	for _, vm := range nas.VMs() {
		if vm.Config["uuid"] == uuid {
			return vm
		}
	}
	t.Fatalf("the NAS has no VM with UUID %q", uuid)
	return sim.VMState{}
}

// deleteByHand deletes a VM without the provisioner, as a user can.
func (w *world) deleteByHand(id string) {
	w.t.Helper()
	if _, err := w.cfg.Providers[0].Client.Delete(w.t.Context(), &providerv1.DeleteRequest{Id: id}); err != nil {
		w.t.Error(err)
	}
}
