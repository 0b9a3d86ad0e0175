package server_test

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// operation is a sequence of calls with the same result, however often it is interrupted.
type operation struct {
	name    string
	rpcs    []string                                                           // the calls of the operation
	prepare func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) // without a fault
	run     func(ctx context.Context, client providerv1.ProviderClient) error
	options []func(*server.Config)
	config  func(*sim.Config) // of the NAS; nil: the default
}

// tries bounds the caller's retries.
const tries = 6

// swept has the common data of all points of an operation on a release.
type swept struct {
	release string
	op      operation
	saved   []byte   // the NAS before the operation
	methods []string // the calls of an undisturbed run
	want    sim.State
}

// point is one run of an operation with one fault, on a separate NAS.
type point struct {
	*swept
	nas     *sim.Sim
	address *sim.Server
	client  providerv1.ProviderClient // the provider that survives the fault, if it does
	stop    func()
	theirs  bool     // another client has a clone
	folders []string // left by late uploads in the staging dataset
	manager int      // the number of the caller, if there are two
}

// setStage prepares an operation once, and runs it undisturbed to count its calls to the NAS.
func setStage(t *testing.T, release string, op operation) *swept {
	t.Helper()
	config := []func(*sim.Config){truenastest.Release(release)}
	if op.config != nil {
		config = append(config, op.config)
	}
	nas, address := truenastest.Serve(t, config...)
	client, stop := startProvider(t, address, op.options...)
	op.prepare(t, client, nas)
	stop() // Its background calls are not part of the operation.
	var saved bytes.Buffer
	if err := nas.Save(&saved); err != nil {
		t.Fatal(err)
	}
	s := &swept{release: release, op: op, saved: saved.Bytes()}
	p := s.point(t)
	if err := p.once(t); err != nil {
		t.Fatal(err)
	}
	s.methods, s.want = p.nas.Calls(), settled(p.nas.State())
	return s
}

// point makes a NAS in the state before the operation.
func (s *swept) point(t *testing.T) *point {
	nas, address := truenastest.Serve(t, truenastest.Release(s.release))
	if err := nas.Load(bytes.NewReader(s.saved)); err != nil {
		t.Fatal(err)
	}
	return &point{swept: s, nas: nas, address: address}
}

// sweep injects every fault at every call of an operation to the NAS, repeats the operation as the manager does, and compares
// the state of the NAS with that after an undisturbed run.
func sweep(t *testing.T, release string, op operation, faults []fault) {
	s := setStage(t, release, op)
	points := map[string]func(*testing.T){}
	for i, m := range faults {
		if slices.ContainsFunc(m.spares, func(begin string) bool { return strings.HasPrefix(op.name, begin) }) {
			continue
		}
		for n, method := range s.methods {
			n++
			if !m.on(release, i+n) || m.job && !slices.Contains(jobs, method) || m.only != "" && m.only != method {
				continue
			}
			points[fmt.Sprintf("%s/%s/call %d of %d", op.name, m.name, n, len(s.methods))] = func(t *testing.T) { s.converges(t, m, n) }
		}
	}
	t.Logf("%s: %d calls, %d points", op.name, len(s.methods), len(points))
	sampling.Run(t, points)
}

// converges compares the result of a disturbed operation with that of an undisturbed one.
func (s *swept) converges(t *testing.T, m fault, n int) {
	p := s.point(t)
	err := m.try(t, p, n)
	p.nas.OnCall(nil)
	for try := 1; err != nil && try < tries; try++ {
		if p.client != nil {
			err = p.with(t, p.client)
		} else {
			err = p.once(t)
		}
	}
	if err != nil {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	if p.stop != nil {
		p.stop()
	}
	p.nas.Close() // It completes the pending work of the NAS.
	if got := p.withoutFolders(withoutOthers(settled(p.nas.State()))); !reflect.DeepEqual(got, s.want) {
		t.Errorf("the NAS differs from an undisturbed run:\n%s", changes(t, s.want, got))
	}
}

// once runs the operation with a new provider.
func (p *point) once(t *testing.T) error {
	client, stop := startProvider(t, p.address, p.op.options...)
	defer stop()
	return p.with(t, client)
}

func (p *point) with(t *testing.T, client providerv1.ProviderClient) error {
	ctx, cancel := p.caller(t)
	defer cancel()
	return p.op.run(ctx, client)
}

// pointKey is the key of a value that differs between all points, for objects outside of the NAS.
type pointKey struct{}

// callerKey is the key of the number of the caller at a point.
type callerKey struct{}

// caller returns the context of a client of the provider, with its deadline.
func (p *point) caller(t *testing.T) (context.Context, context.CancelFunc) {
	ctx := context.WithValue(context.WithValue(t.Context(), pointKey{}, p.address.Fingerprint), callerKey{}, p.manager)
	return context.WithTimeout(ctx, 20*time.Second)
}

func startProvider(t *testing.T, address *sim.Server, opts ...func(*server.Config)) (client providerv1.ProviderClient, stop func()) {
	t.Helper()
	cfg := truenastest.Config(address)
	nas, err := truenas.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := server.Config{ID: "test", Dataset: "tank/virtrigaud", Instance: "replica-1", CloneWithin: time.Minute, NASPaths: nasPaths, Installation: server.Installation{ID: "sweep"}}
	loopbackImages(&c)
	for _, opt := range opts {
		opt(&c)
	}
	s, err := server.New(nas, c)
	if err != nil {
		t.Fatal(err)
	}
	return servertest.Dial(t, s.Register), func() {
		_ = s.Close()
		_ = nas.Close()
	}
}

// The ids of web-1 and web-2 without an owner, as provider "test" derives them.
const (
	idOfWeb1 = "c4184e16-1719-42a9-adab-4b8253a8304a"
	idOfWeb2 = "af341258-3a9c-40e9-8027-aaa343e68432"
)

// settled returns a state without the differences between two runs of the same operation: times, and the seed's bytes, whose name
// identifies its contents.
func settled(s sim.State) sim.State {
	s = dropTree(s)
	for i := range s.Datasets {
		delete(s.Datasets[i].User, "virtrigaud:used")
		forgetSeeds(s.Datasets[i].Files)
	}
	for i := range s.Snapshots {
		delete(s.Snapshots[i].User, "virtrigaud:used")
		forgetSeeds(s.Snapshots[i].Files)
	}
	// TrueNAS renumbers devices when a NIC was made twice for a moment; only the sequence of each kind matters.
	for i := range s.VMs {
		slices.SortStableFunc(s.VMs[i].Devices, func(a, b sim.DeviceState) int {
			return strings.Compare(fmt.Sprint(a.Attributes["dtype"]), fmt.Sprint(b.Attributes["dtype"]))
		})
		for n := range s.VMs[i].Devices {
			s.VMs[i].Devices[n].Order = n
		}
	}
	return s
}

func forgetSeeds(files []sim.FileState) {
	for i := range files {
		if strings.HasSuffix(files[i].Path, ".iso") {
			files[i].Hash = ""
		}
	}
}

// operationsOn returns all operations that change the NAS, on a release.
func operationsOn(t *testing.T, release string, depot *depot) []operation {
	list := append(vmOperations(), imageOperation(t), fullClone(), deleteUnfinished)
	list = append(list, mediaOperations(t)...)
	list = append(list, poolOperations()...)
	switch release { // They differ little between releases, and are slow.
	case "25.04.2":
		list = append(list, nasFileOperation(t))
	case "25.10":
		list = append(list, installerOperation(t))
	}
	return append(list, diskOperations(t, depot)...)
}

func TestNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			depot := newDepot(t)
			for _, op := range operationsOn(t, release, depot) {
				sweep(t, release, op, faults())
			}
			if n := depot.unfinished(t); n > 0 {
				t.Errorf("%d uploads were not ended", n)
			}
		})
	}
}

// unswept are the RPCs without a sweep, and the reasons.
var unswept = map[string]string{
	"Validate":        "only reads",
	"Describe":        "only reads",
	"ListVMs":         "only reads",
	"GetCapabilities": "only reads",
	"GetDiskInfo":     "only reads",
	"HardwareUpgrade": "is refused before the NAS is asked: it has no versions of virtual hardware",
	"TransferOwner":   "is refused before the NAS is asked: it is one host",
	"ListHosts":       "is refused before the NAS is asked: it is one host",
	"GetHostInfo":     "is refused before the NAS is asked: it is one host",
}

// A new RPC of the contract is swept, or listed with a reason.
func TestEveryRPCThatChangesSomethingIsSwept(t *testing.T) {
	t.Parallel()
	swept := map[string]bool{}
	for _, op := range operationsOn(t, "27", newDepot(t)) {
		for _, rpc := range op.rpcs {
			swept[rpc] = true
		}
	}
	for _, method := range providerv1.Provider_ServiceDesc.Methods {
		if rpc := method.MethodName; swept[rpc] == (unswept[rpc] != "") {
			t.Errorf("%s is swept: %t; the reason why not: %q", rpc, swept[rpc], unswept[rpc])
		}
		delete(swept, method.MethodName)
	}
	if len(swept) > 0 {
		t.Errorf("the contract has no %v", swept)
	}
}
