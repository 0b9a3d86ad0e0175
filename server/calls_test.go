package server_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest/intime"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// Limits for a VM from Create and Power on until Describe reports On: calls to the NAS, and the depth of their graph, which
// is the number of round trips in sequence.
const (
	maxCalls      = 16
	maxRoundTrips = 7
)

// makeAndStart is the main job: Create, Power on, Describe until it reports On.
func makeAndStart(t testing.TB, client providerv1.ProviderClient, req *providerv1.CreateRequest) string {
	t.Helper()
	created, err := client.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: created.GetId(), Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: created.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		if vm.GetPowerState() == "On" {
			return created.GetId()
		}
	}
	t.Fatal("the VM is not on")
	return ""
}

// atLatency returns a provider over a NAS with this latency. The provider has already listed its VMs, and its marked dataset
// exists, as after the first VM.
func atLatency(t testing.TB, release string, latency time.Duration, configure ...func(*server.Config)) (providerv1.ProviderClient, *sim.Sim, *callGraph) {
	t.Helper()
	api, nas, graph := graphed(t, func(c *sim.Config) { c.Release, c.Latency = release, latency })
	client, s := serve(t, api, configure...)
	if err := nas.AddDataset("tank/virtrigaud", nil); err != nil {
		t.Fatal(err)
	}
	s.RenewClaim(t.Context())
	if _, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: absentID}); err != nil {
		t.Fatal(err)
	}
	return client, nas, graph
}

func TestCallsOfCreateAndPowerOn(t *testing.T) {
	for _, release := range sampling.Of(t, releases) {
		for _, tt := range []struct {
			name  string
			spoil func(*providerv1.CreateRequest)
		}{
			{"image, NIC, seed and a second disk", func(*providerv1.CreateRequest) {}},
			{"image and NIC", func(r *providerv1.CreateRequest) {
				r.UserData, r.MetaData, r.DisksJson, r.NetworksJson = nil, nil, "", `[{"Bridge":"br0"}]`
			}},
			{"a blank disk", func(r *providerv1.CreateRequest) { r.ImageJson = "" }},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				// Independent calls overlap when they begin within the latency of one.
				intime.Try(t, 150*time.Millisecond, func(latency time.Duration) error {
					req := good()
					tt.spoil(req)
					calls, depth := callsOfCreateAndPowerOn(t, release, latency, req)
					t.Logf("%d calls, depth %d: %v", len(calls), depth, calls)
					if len(calls) > maxCalls || depth > maxRoundTrips {
						return fmt.Errorf("%d calls of depth %d; at most %d and %d: %v", len(calls), depth, maxCalls, maxRoundTrips, calls)
					}
					return nil
				})
			})
		}
	}
}

func callsOfCreateAndPowerOn(t *testing.T, release string, latency time.Duration, req *providerv1.CreateRequest) (calls []string, depth int) {
	t.Helper()
	client, nas, graph := atLatency(t, release, latency)
	addImage(t, nas)
	graph.reset()
	makeAndStart(t, client, req)
	return graph.result()
}

// crowd returns a provider over a NAS with n VMs, which it has read already, and their ids.
func crowd(t testing.TB, release string, n int) (providerv1.ProviderClient, *sim.Sim, []string) {
	t.Helper()
	client, nas := onRelease(t, release)
	return client, nas, crowdOn(t, client, nas, n)
}

// crowdOn makes n VMs on the NAS of a provider.
func crowdOn(t testing.TB, client providerv1.ProviderClient, nas *sim.Sim, n int) []string {
	t.Helper()
	if err := nas.AddDataset("tank/vms", nil); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		volume := fmt.Sprintf("tank/vms/disk%d", i)
		if err := nas.AddVolume(volume, 1<<30, nil); err != nil {
			t.Fatal(err)
		}
		if err := nas.AddVM(fmt.Sprintf("vm%d", i), 2, 1024, volume); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{})
	if err != nil || len(resp.GetVms()) != n {
		t.Fatalf("ListVMs: %d VMs, %v; want %d", len(resp.GetVms()), err, n)
	}
	ids := make([]string, n)
	for i, vm := range resp.GetVms() {
		ids[i] = vm.GetId()
	}
	// States in events during the read of the list are queried once.
	describeAll(t, client, ids)
	nas.ResetCalls()
	return ids
}

func describeAll(t testing.TB, client providerv1.ProviderClient, ids []string) {
	t.Helper()
	for _, id := range ids {
		if vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: id}); err != nil || !vm.GetExists() {
			t.Fatalf("Describe: %v, %v", vm, err)
		}
	}
}

func TestCallsOfPolling(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			counts := map[int]int{} // calls of one ListVMs by the number of VMs
			for _, n := range []int{3, 300} {
				client, nas, ids := crowd(t, release, n)
				describeAll(t, client, ids)
				if calls := nas.Calls(); len(calls) > 0 {
					t.Errorf("%d Describes of VMs that are known make %d calls: %v", n, len(calls), calls)
				}
				nas.ResetCalls()
				for range n {
					if _, err := client.Validate(t.Context(), &providerv1.ValidateRequest{}); err != nil {
						t.Fatal(err)
					}
				}
				// The first one checks the pool.
				if calls := nas.Calls(); len(calls) > 1 {
					t.Errorf("%d Validates make %d calls: %v", n, len(calls), calls)
				}
				nas.ResetCalls()
				if _, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{}); err != nil {
					t.Fatal(err)
				}
				counts[n] = len(nas.Calls())
			}
			if counts[3] != counts[300] || counts[300] > 2 {
				t.Errorf("ListVMs makes %d calls for 3 VMs and %d for 300", counts[3], counts[300])
			}
		})
	}
}

// TestBurstsShareCalls makes fifty equal requests at once.
func TestBurstsShareCalls(t *testing.T) {
	for name, call := range map[string]func(providerv1.ProviderClient) error{
		"ListVMs": func(client providerv1.ProviderClient) error {
			_, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{})
			return err
		},
		"Describe of a VM that is not there": func(client providerv1.ProviderClient) error {
			_, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: absentID})
			return err
		},
		"Validate": func(client providerv1.ProviderClient) error {
			_, err := client.Validate(t.Context(), &providerv1.ValidateRequest{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			intime.Try(t, 200*time.Millisecond, func(latency time.Duration) error {
				client, nas, _ := atLatency(t, "25.10", latency)
				nas.ResetCalls()
				burst(t, 50, func() error { return call(client) })
				// The last caller may have come after the response to the first.
				if calls := nas.Calls(); len(calls) > 4 {
					return fmt.Errorf("%d calls: %v", len(calls), calls)
				}
				return nil
			})
		})
	}
}

func burst(t *testing.T, n int, call func() error) {
	t.Helper()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := call(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestIdleProviderMakesNoCalls expects that an idle provider that knows a VM makes no calls.
func TestIdleProviderMakesNoCalls(t *testing.T) {
	t.Parallel()
	client, nas, ids := crowd(t, "25.10", 1)
	if _, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: ids[0]}); err != nil {
		t.Fatal(err)
	}
	nas.ResetCalls()
	// The test cannot wait for the absence of calls. A loop with a period of ten seconds, which is the most that six calls a minute
	// permit, would fail here one time in five; a shorter period fails more often.
	time.Sleep(2 * time.Second)
	if calls := nas.Calls(); len(calls) > 0 {
		t.Errorf("an idle provider asks %v", calls)
	}
}
