package server_test

import (
	"context"
	"flag"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// The load of a manager with many VMs: it describes each of them every ten seconds, and validates the provider each time.
const (
	manyVMs    = 1000
	manyCalls  = 50 // concurrent calls
	pollEvery  = 10 * time.Second
	hourOfWork = 360 // rounds of polls
)

var rhythmFlag = flag.Duration("rhythm", 10*time.Second, "how long BenchmarkManagersRhythm polls")

// poll makes the manager's calls for one VM.
func poll(ctx context.Context, t testing.TB, client providerv1.ProviderClient, id string) time.Duration {
	if resp, err := client.Validate(ctx, &providerv1.ValidateRequest{}); err != nil || !resp.GetOk() {
		t.Errorf("Validate: %v, %v", resp, err)
	}
	began := time.Now()
	if vm, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: id}); err != nil || !vm.GetExists() {
		t.Errorf("Describe: %v, %v", vm, err)
	}
	return time.Since(began)
}

// pollAll polls every VM once, many at the same time, and returns the duration of each Describe.
func pollAll(t testing.TB, client providerv1.ProviderClient, ids []string) []time.Duration {
	took := make([]time.Duration, len(ids))
	var next atomic.Int64
	var callers sync.WaitGroup
	for range manyCalls {
		callers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(ids)); i = next.Add(1) - 1 {
				took[i] = poll(t.Context(), t, client, ids[i])
			}
		})
	}
	callers.Wait()
	return took
}

// TestAnHourOfPolls polls a thousand VMs as often as in an hour, without pauses: neither memory nor goroutines grow, and the NAS
// gets few calls.
func TestAnHourOfPolls(t *testing.T) {
	client, nas, ids := crowd(t, "25.10", manyVMs)
	rounds := orFewer(t, hourOfWork, hourOfWork/12)
	heap, goroutines := []uint64{}, []int{}
	began := time.Now()
	for n := range rounds {
		pollAll(t, client, ids)
		if t.Failed() {
			return
		}
		if n%(rounds/6) == rounds/6-1 {
			heap, goroutines = append(heap, inUse()), append(goroutines, runtime.NumGoroutine())
		}
	}
	t.Logf("%d polls in %v: heap %v bytes, goroutines %v, calls to the NAS %v", rounds*len(ids), time.Since(began), heap, goroutines, nas.Calls())
	// The first sixth may still fill buffers and pools.
	if grown := int64(slices.Max(heap[1:])) - int64(heap[0]); grown > 2<<20 {
		t.Errorf("the heap has grown by %d bytes: %v", grown, heap)
	}
	if slices.Max(goroutines) > goroutines[0]+10 {
		t.Errorf("goroutines: %v", goroutines)
	}
	// The cached list is refreshed once a minute, the health twice a minute, and addresses occasionally.
	if most := 10 * (1 + int(time.Since(began)/time.Minute)); len(nas.Calls()) > most {
		t.Errorf("%d calls to the NAS, and %d are enough: %v", len(nas.Calls()), most, nas.Calls())
	}
}

// inUse returns the bytes on the heap after a collection.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkPolls1000 polls a thousand VMs without pauses, fifty at the same time.
func BenchmarkPolls1000(b *testing.B) {
	client, nas, ids := crowd(b, "25.10", manyVMs)
	var took []time.Duration
	for b.Loop() {
		took = append(took, pollAll(b, client, ids)...)
	}
	reportPolls(b, took)
	reportCalls(b, nas)
}

// BenchmarkManagersRhythm polls a thousand VMs at the manager's pace for the duration of -rhythm.
func BenchmarkManagersRhythm(b *testing.B) {
	client, nas, ids := crowd(b, "25.10", manyVMs)
	before := inUse()
	for b.Loop() {
		took := rhythm(b, client, ids)
		reportPolls(b, took)
		b.ReportMetric(float64(len(nas.Calls()))/rhythmFlag.Minutes(), "calls/min")
		b.ReportMetric(float64(int64(inUse())-int64(before))/(1<<20), "MiB-grown")
	}
}

// rhythm spreads the polls over the manager's interval, and the VMs over its callers.
func rhythm(b *testing.B, client providerv1.ProviderClient, ids []string) []time.Duration {
	ctx, cancel := context.WithTimeout(b.Context(), *rhythmFlag)
	defer cancel()
	var mu sync.Mutex
	var took []time.Duration
	var callers sync.WaitGroup
	for caller := range manyCalls {
		callers.Go(func() {
			each := pollEvery / time.Duration(len(ids)/manyCalls)
			ticks := time.NewTicker(each)
			defer ticks.Stop()
			for i := caller; ; i = (i + manyCalls) % len(ids) {
				select {
				case <-ticks.C:
				case <-ctx.Done():
					return
				}
				one := poll(b.Context(), b, client, ids[i])
				mu.Lock()
				took = append(took, one)
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	return took
}

func reportPolls(b *testing.B, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(len(took))/float64(b.N), "polls/op")
}

// atOnce makes a call for each VM at the same time, each with a separate deadline, and returns the errors.
func atOnce(ids []string, patience time.Duration, call func(context.Context, string) error) []error {
	errs := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			errs[i] = call(ctx, id)
		})
	}
	all.Wait()
	return errs
}

// silence makes the NAS execute calls and drop the replies.
func silence(nas *sim.Sim) {
	for i := range 500 {
		nas.Inject(sim.Fault{Nth: i + 1, Then: sim.DropReply})
	}
}
