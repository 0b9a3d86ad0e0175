package server_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// operation is something that has to come to the same end however often it is cut short.
type operation struct {
	name    string
	prepare func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) // undisturbed
	run     func(ctx context.Context, client providerv1.ProviderClient) error
}

// swept are the NAS's faults that a call can meet.
var swept = []struct {
	name string
	then sim.Action
}{
	{"cut before it is done", sim.CutBefore},
	{"cut after it is done", sim.CutAfter},
	{"reply lost", sim.DropReply},
	{"reply given twice", sim.AnswerTwice},
	{"provider killed", killed},
}

// killed is no fault of the NAS's: the provider ends at that call, and nothing of it goes on.
const killed sim.Action = -1

// tries is how often the caller repeats before the test gives up on it.
const tries = 6

// sweep cuts an operation short at every one of its calls to the NAS, in every way, starts the
// provider anew, repeats the operation as the manager does, and holds what is on the NAS then
// against an undisturbed run.
func sweep(t *testing.T, release string, op operation) {
	calls, want := undisturbed(t, release, op)
	t.Logf("%s: %d calls, %d points", op.name, calls, calls*len(swept))
	stride := 1
	if testing.Short() {
		stride = 5 // With the race detector every point would take a quarter of an hour.
	}
	for i, fault := range swept {
		for n := 1 + i%stride; n <= calls; n += stride {
			t.Run(fmt.Sprintf("%s/%s/call %d of %d", op.name, fault.name, n, calls), func(t *testing.T) {
				nas, address := truenastest.Serve(t, truenastest.Release(release))
				op.setUp(t, nas, address)
				if fault.then == killed {
					op.killedAt(t, nas, address, n)
				} else {
					nas.Inject(sim.Fault{Nth: n, Then: fault.then})
				}
				if fault.then == sim.DropReply {
					// The link is cut so that the client stops waiting for a reply that never comes.
					nas.OnCall(func(i int, _ string) {
						if i == n {
							time.AfterFunc(20*time.Millisecond, nas.CutConnections)
						}
					})
				}
				// The provider that meets the fault dies of it; another one is started for each repetition.
				var err error
				for range tries {
					if err = op.once(t, address); err == nil {
						break
					}
				}
				if err != nil {
					t.Fatalf("after %d tries: %v", tries, err)
				}
				if got := settled(nas.State()); !reflect.DeepEqual(got, want) {
					t.Errorf("the NAS differs from an undisturbed run:\n%s", diff(t, want, got))
				}
			})
		}
	}
}

func undisturbed(t *testing.T, release string, op operation) (calls int, want sim.State) {
	nas, address := truenastest.Serve(t, truenastest.Release(release))
	op.setUp(t, nas, address)
	nas.ResetCalls()
	if err := op.once(t, address); err != nil {
		t.Fatal(err)
	}
	return len(nas.Calls()), settled(nas.State())
}

func (op operation) setUp(t *testing.T, nas *sim.Sim, address *sim.Server) {
	client, stop := startProvider(t, address)
	stop = sync.OnceFunc(stop)
	defer stop()
	op.prepare(t, client, nas)
	stop() // What it still asks for in the background is none of the operation's.
	nas.ResetCalls()
}

// once runs the operation with a provider of its own.
func (op operation) once(t *testing.T, address *sim.Server) error {
	client, stop := startProvider(t, address)
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return op.run(ctx, client)
}

// killedAt runs the operation with a provider that ends at its n-th call to the NAS.
func (op operation) killedAt(t *testing.T, nas *sim.Sim, address *sim.Server, n int) {
	client, stop := startProvider(t, address)
	stopped := make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	end := sync.OnceFunc(func() {
		defer close(stopped)
		stop()
		cancel() // Whoever called it hears nothing more.
	})
	nas.OnCall(func(i int, _ string) {
		if i == n {
			go end()
		}
	})
	if err := op.run(ctx, client); err == nil {
		// What was killed at its last call may have been answered before, and how often TrueNAS is
		// asked for a job's state depends on how fast its events are.
		t.Logf("the answer came before the end")
		end()
	}
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.Canceled) {
		t.Fatalf("call %d was never made", n)
	}
	<-stopped
	nas.OnCall(nil)
}

func startProvider(t *testing.T, address *sim.Server, opts ...func(*server.Config)) (client providerv1.ProviderClient, stop func()) {
	t.Helper()
	cfg := truenastest.Config(address)
	cfg.PlainLogin = true // SCRAM derives a key for every provider that is started, which is not what is tested here.
	nas, err := truenas.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := server.Config{ID: "test", Dataset: "tank/virtrigaud", Instance: "replica-1"}
	loopbackImages(&c)
	for _, opt := range opts {
		opt(&c)
	}
	s, err := server.New(nas, c)
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, s), func() {
		_ = s.Close()
		_ = nas.Close()
	}
}

// idOfWeb1 is the id of web-1 without an owner, as provider "test" derives it.
const idOfWeb1 = "c4184e16-1719-42a9-adab-4b8253a8304a"

// settled is a state without what differs between two runs of the same operation: times, and
// the seed's bytes, whose name tells its contents.
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
	// TrueNAS numbers devices anew when a NIC was made twice for a moment; what counts is their sequence.
	for i := range s.VMs {
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

func TestNothingIsLostOrDoubled(t *testing.T) {
	request := func() *providerv1.CreateRequest {
		req := wanted("web-1")
		req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
		return req
	}
	template := func(t *testing.T, _ providerv1.ProviderClient, nas *sim.Sim) { addImage(t, nas) }
	create := func(ctx context.Context, client providerv1.ProviderClient) (string, error) {
		resp, err := client.Create(ctx, request())
		return resp.GetId(), err
	}
	made := func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
		template(t, client, nas)
		if _, err := create(context.Background(), client); err != nil {
			t.Fatal(err)
		}
	}
	power := func(op providerv1.PowerOp) func(context.Context, providerv1.ProviderClient) error {
		return func(ctx context.Context, client providerv1.ProviderClient) error {
			id, err := create(ctx, client)
			if err != nil {
				return err
			}
			_, err = client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: op})
			return err
		}
	}
	running := func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
		template(t, client, nas)
		if err := power(providerv1.PowerOp_POWER_OP_ON)(context.Background(), client); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: idOfWeb1})
		return err
	}
	// As the manager does: ask for the image, poll its task, and make a VM of it.
	web, _ := serveImage(t)
	land := func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: web.job(web.checksum()), TargetName: "gold"})
		if err != nil {
			return err
		}
		for task := resp.GetTask(); task != nil; {
			status, err := client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
			if err != nil {
				return err
			}
			if status.GetDone() {
				break
			}
		}
		req := request()
		req.ImageJson = fmt.Sprintf(`{"Path":%q}`, resp.GetPreparedImagePath())
		made, err := client.Create(ctx, req)
		if err == nil && made.GetTask() != nil {
			err = errors.New("the image is still on the way")
		}
		return err
	}
	snapshot := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: idOfWeb1, NameHint: "s1", Description: "d"})
		return err
	}
	frozen := func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
		made(t, client, nas)
		if err := snapshot(context.Background(), client); err != nil {
			t.Fatal(err)
		}
		write(t, nas, "tank/virtrigaud/vms/web_1/root", "after")
	}
	revert := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.SnapshotRevert(ctx, &providerv1.SnapshotRevertRequest{VmId: idOfWeb1, SnapshotId: "s1"})
		return err
	}
	thaw := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: idOfWeb1, SnapshotId: "s1"})
		return err
	}
	clone := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Clone(ctx, &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2", Linked: true, CustomizeJson: `{"hostname":"second"}`})
		return err
	}
	cloned := func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
		made(t, client, nas)
		if err := clone(context.Background(), client); err != nil {
			t.Fatal(err)
		}
	}
	reconfigure := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: idOfWeb1,
			DesiredJson: desired(4, 4096, 30, `[{"SizeGiB":6,"Name":"data"},{"SizeGiB":7,"Name":"new"}]`)})
		return err
	}
	operations := []operation{
		{"Create", template, func(ctx context.Context, c providerv1.ProviderClient) error { _, err := create(ctx, c); return err }},
		{"Power on", made, power(providerv1.PowerOp_POWER_OP_ON)},
		{"Power off", running, power(providerv1.PowerOp_POWER_OP_OFF)},
		{"Delete", running, remove},
		{"Snapshot", made, snapshot},
		{"Revert", frozen, revert},
		{"Delete a snapshot", frozen, thaw},
		{"Clone", running, clone},
		{"Delete the source of a clone", cloned, remove},
		{"Reconfigure", made, reconfigure},
		{"Image", func(*testing.T, providerv1.ProviderClient, *sim.Sim) {}, land},
	}
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			for _, op := range operations {
				sweep(t, release, op)
			}
		})
	}
}
