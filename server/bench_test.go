package server_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// away is the latency of the NAS in benchmarks that measure round trips.
const away = 20 * time.Millisecond

// inFlight is the number of concurrent calls of the client.
const inFlight = 10

// BenchmarkCreateFromImageAndPowerOn is the main job: Create of a VM from a prepared image, Power on, Describe until it
// reports On. round-trips/op is the depth of the graph of its calls.
func BenchmarkCreateFromImageAndPowerOn(b *testing.B) {
	client, nas, graph := atLatency(b, "25.10", away)
	addImage(b, nas)
	calls, depth := 0, 0
	for n := range b.N {
		graph.reset()
		id := makeAndStart(b, client, unnamed(fmt.Sprintf("vm-%d", n)))
		called, deep := graph.result()
		calls, depth = calls+len(called), depth+deep
		b.StopTimer()
		remove(b, client, []string{id})
		b.StartTimer()
	}
	b.ReportMetric(float64(depth)/float64(b.N), "round-trips/op")
	b.ReportMetric(float64(calls)/float64(b.N), "calls/op")
}

func remove(b *testing.B, client providerv1.ProviderClient, ids []string) {
	b.Helper()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			if _, err := client.Delete(b.Context(), &providerv1.DeleteRequest{Id: id}); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}

// BenchmarkListVMs1000 lists a thousand VMs.
func BenchmarkListVMs1000(b *testing.B) {
	client, nas, _ := crowd(b, "25.10", 1000)
	for b.Loop() {
		if _, err := client.ListVMs(b.Context(), &providerv1.ListVMsRequest{}); err != nil {
			b.Fatal(err)
		}
	}
	reportCalls(b, nas)
}

// BenchmarkDescribe1000 describes each of a thousand VMs, as the manager does every ten seconds.
func BenchmarkDescribe1000(b *testing.B) {
	client, nas, ids := crowd(b, "25.10", 1000)
	for b.Loop() {
		describeAll(b, client, ids)
	}
	reportCalls(b, nas)
}

func reportCalls(b *testing.B, nas *sim.Sim) {
	b.ReportMetric(float64(len(nas.Calls()))/float64(b.N), "calls/op")
}

// BenchmarkCreate100AtOnce makes a hundred VMs at the same time. x-ideal/op is the duration relative to that of the calls alone
// when ten are always in flight.
func BenchmarkCreate100AtOnce(b *testing.B) {
	client, nas, _ := atLatency(b, "25.10", away)
	addImage(b, nas)
	var spent, ideal time.Duration
	calls := 0
	for n := range b.N {
		nas.ResetCalls()
		begin := time.Now()
		ids := createAtOnce(b, client, 100, fmt.Sprintf("vm-%d", n))
		spent += time.Since(begin)
		calls += len(nas.Calls())
		ideal += time.Duration(len(nas.Calls())) * away / inFlight
		b.StopTimer()
		remove(b, client, ids)
		b.StartTimer()
	}
	b.ReportMetric(float64(spent)/float64(ideal), "x-ideal/op")
	b.ReportMetric(float64(calls)/float64(b.N), "calls/op")
}

func createAtOnce(b *testing.B, client providerv1.ProviderClient, n int, prefix string) []string {
	b.Helper()
	ids := make([]string, n)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			resp, err := client.Create(b.Context(), unnamed(fmt.Sprintf("%s-%d", prefix, i)))
			if err != nil {
				b.Error(err)
			}
			ids[i] = resp.GetId()
		})
	}
	wg.Wait()
	return ids
}
