package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/api/omni/specs"
	"github.com/siderolabs/omni/client/pkg/infra/imagefactory"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/omni/standin"
)

// omniSide is an Omni with machine requests, and the adapter that serves them through a provider's RPCs.
type omniSide struct {
	w     *world
	state state.State
	cfg   omni.Config

	life sync.Mutex
	stop func()

	wanted map[string]bool // existing requests; used by the worker only
	next   int
	step   int
}

// adapterID is the adapter's id in Omni.
const adapterID = "truenas"

// minutes limits a request. Omni retries a failure after a minute, and the retry may meet another fault.
const minutes = 5

// machineClass is the requested machine class.
const machineClass = "cores: 1\nmemory: 2048\ndisk_size: 10\nstorage_pool: tank\n"

func newOmniSide(w *world, client providerv1.ProviderClient) *omniSide {
	o := &omniSide{w: w, wanted: map[string]bool{}}
	web := httptest.NewServer(&standin.Factory{})
	w.t.Cleanup(web.Close)
	var err error
	if o.state, err = standin.Omni(w.t.Context(), adapterID, web.URL); err != nil {
		w.t.Fatal(err)
	}
	schematics, err := imagefactory.NewDirectClient(imagefactory.ClientOptions{FactoryEndpoint: web.URL})
	if err != nil {
		w.t.Fatal(err)
	}
	o.cfg = omni.Config{
		ID: adapterID, Providers: []omni.Backend{{Name: "nas", Client: client}}, State: o.state, Factory: schematics, Origin: "omni.example",
		Pace: omni.Pace{Poll: 20 * time.Millisecond, Retry: 100 * time.Millisecond}, WatchInterval: 200 * time.Millisecond,
		HealthInterval: 200 * time.Millisecond, StopTimeout: 2 * time.Second,
	}
	o.start()
	w.t.Cleanup(func() { o.stop() })
	return o
}

// start runs an adapter.
func (o *omniSide) start() {
	adapter, err := omni.New(o.cfg)
	if err != nil {
		o.w.violated("the adapter does not start: %v", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- adapter.Run(ctx) }()
	o.stop = func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			o.w.violated("the adapter ended: %v", err)
		}
		o.stop = func() {}
	}
}

// restart stops the adapter and starts it again.
func (o *omniSide) restart() {
	o.life.Lock()
	defer o.life.Unlock()
	o.stop()
	o.start()
}

// round creates and releases machine requests.
func (o *omniSide) round(random *rand.Rand, steps int) {
	for range steps {
		if o.w.stopped() {
			return
		}
		o.step++
		grow := random.IntN(2) == 0 && len(o.wanted) < 4
		pick := random.IntN(1 << 20)
		if grow || len(o.wanted) == 0 {
			o.ask()
			continue
		}
		o.releaseRequest(pick)
	}
}

func (o *omniSide) ask() {
	o.next++
	id := fmt.Sprintf("omni-%d", o.next)
	if err := standin.Request(o.w.t.Context(), o.state, adapterID, id, "workers", "1.12.3", machineClass); err != nil {
		o.w.violated("Omni cannot ask: %v", err)
		return
	}
	o.wanted[id] = true
	if o.until("request "+id+" is provisioned", func() (bool, string) {
		status, err := safe.ReaderGetByID[*infrares.MachineRequestStatus](o.w.t.Context(), o.state, id)
		if err != nil {
			return false, err.Error()
		}
		spec := status.TypedSpec().Value
		return spec.GetStage() == specs.MachineRequestStatusSpec_PROVISIONED, spec.String()
	}) {
		o.w.counted(o.w.counts, "Omni: request provisioned")
	}
}

// releaseRequest releases the request with the number that pick selects.
func (o *omniSide) releaseRequest(pick int) {
	var ids []string
	for n := 1; n <= o.next; n++ {
		if id := fmt.Sprintf("omni-%d", n); o.wanted[id] {
			ids = append(ids, id)
		}
	}
	id := ids[pick%len(ids)]
	ctx, cancel := context.WithTimeout(o.w.t.Context(), minutes*time.Minute)
	defer cancel()
	if err := standin.Release(ctx, o.state, id); err != nil {
		o.w.violated("seed %d, Omni, step %d: release of request %s failed: %v", o.w.seed, o.step, id, err)
		return
	}
	delete(o.wanted, id)
	o.w.counted(o.w.counts, "Omni: request released")
	if v := o.w.look(); v.left(id) != "" {
		o.w.violated("seed %d, Omni, step %d: request %s was released, but %s still exists", o.w.seed, o.step, id, v.left(id))
	}
}

// left returns an object of a request's machine that remains on the NAS, or "".
func (v view) left(id string) string {
	if vm, ok := v.vms[onNAS(id)]; ok {
		return "VM " + vm.Name
	}
	for _, d := range v.Datasets {
		if hasAny(d.Name, root+"/vms/"+onNAS(id)) {
			return d.Name
		}
	}
	return ""
}

func (o *omniSide) until(what string, holds func() (bool, string)) bool {
	began := time.Now()
	defer func() { o.w.took("Omni: "+what, time.Since(began)) }()
	deadline, last := began.Add(minutes*time.Minute), ""
	for time.Now().Before(deadline) && !o.w.stopped() {
		ok, now := holds()
		if ok {
			return true
		}
		last = now
		time.Sleep(10 * time.Millisecond) // There is no event to wait for.
	}
	if !o.w.stopped() {
		o.w.violated("seed %d, Omni, step %d: timed out waiting until %s: %s", o.w.seed, o.step, what, last)
	}
	return false
}

// audit compares the machines of requests with their expected state.
func (o *omniSide) audit(v view, names, datasets map[string]bool) (wrong []string) {
	for id := range o.wanted {
		vm := v.vms[onNAS(id)]
		kinds := kindsOf(vm)
		if vm.State != "RUNNING" || len(kinds["DISK"]) != 1 || len(kinds["NIC"]) != 1 || len(kinds["CDROM"]) != 1 {
			wrong = append(wrong, fmt.Sprintf("the machine of request %s is %s with %v", id, vm.State, kinds))
		}
		home := root + "/vms/" + onNAS(id)
		names[onNAS(id)], datasets[home] = true, true
		for _, path := range kinds["DISK"] {
			datasets[strings.TrimPrefix(path, "/dev/zvol/")] = true
		}
	}
	return wrong
}
