package soak

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

var (
	seedFlag     = flag.Int64("seed", 1, "where the operations and faults come from")
	durationFlag = flag.Duration("duration", 0, "how long to continue; 0: one round")
	releaseFlag  = flag.String("release", "", "of the NAS, such as 25.10; empty: all at the same time")
)

// TestMain also checks that no goroutine remains at the end.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// steps is the number of operations of each worker in a round. After each round the faults stop, and the state of the NAS is
// compared with the expected state.
const steps = 12

func TestSoak(t *testing.T) {
	releases := []string{"25.04.2", "25.10", "26", "27"}
	switch {
	case *releaseFlag != "":
		releases = []string{*releaseFlag}
	case testing.Short():
		releases = releases[1:2] // With the race detector, four releases at once would take minutes.
	}
	for i, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			soak(t, release, *seedFlag+int64(i), *durationFlag)
		})
	}
}

func soak(t *testing.T, release string, seed int64, duration time.Duration) {
	t.Logf("TrueNAS %s, seed %d", release, seed)
	w := newWorld(t, release, seed)
	end := time.Now().Add(duration)
	rounds := 0
	for ; rounds == 0 || time.Now().Before(end) && !w.stopped(); rounds++ {
		w.round(rounds)
	}
	w.clear()
	w.report(rounds)
}

// random returns a separate source of numbers for each user and round.
func (w *world) random(who string, round int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", who, round)
	return rand.New(rand.NewPCG(uint64(w.seed), h.Sum64()))
}

// round runs all workers under faults, and then checks the result.
func (w *world) round(n int) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var around, all, omni sync.WaitGroup
	for _, p := range slices.Concat(w.east, w.west) {
		around.Go(func() { w.poll(ctx, p) })
	}
	around.Go(func() { w.watch(ctx) })
	around.Go(func() { w.sendForeignChanges(ctx) })
	w.faults.begin(w.random("faults", n))
	for _, k := range w.workers {
		random := w.random(k.name, n)
		all.Go(func() { k.round(random, steps) })
	}
	omni.Go(func() { w.omni.round(w.random("omni", n), steps/4) })
	all.Wait()
	w.faults.end()
	omni.Wait() // Omni retries once a minute. A fault at each retry would block it.
	cancel()
	around.Wait()
	w.clearExports()
	w.audit()
	w.nas.ResetCalls() // Otherwise the simulator would keep their names forever.
}

// clearExports makes each provider export a disk: the next export removes the leftovers of an export whose process died.
func (w *world) clearExports() {
	for _, p := range []*process{w.east[0], w.west[0]} {
		k := newWorker(w, p.instance, []*process{p})
		where := "pvc://stage/vmmigrations/soak/" + anchor + p.id + ".qcow2"
		k.do("ExportDisk to clear up of "+p.id, codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
			id, err := idOf(ctx, client, anchor+p.id)
			if err != nil {
				return err
			}
			if _, err := client.ExportDisk(ctx, &providerv1.ExportDiskRequest{VmId: id, DestinationUrl: where, Format: "qcow2", BackendType: "pvc"}); err != nil {
				return err
			}
			for _, d := range w.nas.State().Datasets {
				if strings.HasPrefix(d.Name, root+"/staging/export-") && d.User["virtrigaud:provider"] == p.id {
					return errNotYet(d.Name + " still exists")
				}
			}
			return nil
		})
	}
}

// clear deletes everything and checks that no objects remain.
func (w *world) clear() {
	for _, k := range w.workers {
		k.random = w.random(k.name, -1)
		for _, m := range k.machines {
			if m.exists() && !w.stopped() {
				k.remove(m)
			}
		}
	}
	for len(w.omni.wanted) > 0 && !w.stopped() {
		w.omni.releaseRequest(0)
	}
	w.audit()
}

// report logs the number of operations.
func (w *world) report(rounds int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	operations, faults := 0, 0
	for _, n := range w.counts {
		operations += n
	}
	for _, n := range w.faults.count {
		faults += n
	}
	w.t.Logf("seed %d: %d operations and %d faults in %d rounds, %d calls to the NAS\noperations: %s\nfaults: %s\nanswers: %s\nslowest: %v for %s",
		w.seed, operations, faults, rounds, w.faults.calls, list(w.counts), list(w.faults.count), list(w.codes), w.longest.Round(time.Millisecond), w.slowest)
}

func list(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}
