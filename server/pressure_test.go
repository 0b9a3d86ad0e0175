package server_test

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

// TestSlowNAS: when the NAS responds late or not at all, callers get an error within their deadline, calls do not accumulate,
// and cached data is still served. The provider recovers with the NAS.
func TestSlowNAS(t *testing.T) {
	const (
		patience  = 4 * time.Second // the deadline of a caller
		linger    = 8 * time.Second // for a change in flight, which may still take effect
		recovered = time.Minute
	)
	type way struct{ slow, end func(*sim.Sim) }
	ways := map[string]way{
		"every call takes longer than its caller waits": {
			func(nas *sim.Sim) { nas.SetLatency(patience + time.Second) }, func(nas *sim.Sim) { nas.SetLatency(0) }},
		"no answer comes": {silence, (*sim.Sim).ClearFaults},
	}
	for _, name := range sampling.Of(t, slices.Sorted(maps.Keys(ways))) {
		tt := ways[name]
		t.Run(name, func(t *testing.T) {
			nas, address := truenastest.Serve(t)
			client := withKey(t, address, func(c *truenas.Config) { c.Linger = linger })
			ids := crowdOn(t, client, nas, manyCalls)
			start := func(ctx context.Context, id string) error {
				_, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON})
				return err
			}
			describe := func(ctx context.Context, id string) error {
				vm, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: id})
				if err == nil && !vm.GetExists() {
					err = status.Error(codes.NotFound, "an existing VM is reported as absent")
				}
				return err
			}
			goroutines := runtime.NumGoroutine()
			tt.slow(nas)
			for round := range 2 {
				for _, err := range atOnce(ids, patience, start) {
					text := status.Convert(err).Message()
					slow := status.Code(err) == codes.Unavailable && strings.Contains(text, "TrueNAS is slow: ")
					// A change that was sent earlier may still take effect, and keeps the lock of the VM.
					busy := round > 0 && status.Code(err) == codes.Aborted && strings.Contains(text, "another call is in progress")
					if !slow && !busy {
						t.Errorf("Power on: %v", err)
					}
				}
				for _, err := range atOnce(ids, patience, describe) {
					if err != nil {
						t.Errorf("Describe: %v", err)
					}
				}
			}
			if calls := len(nas.Calls()); calls > 2*20 {
				t.Errorf("the NAS has been given %d calls", calls)
			}
			tt.end(nas)
			deadline := time.Now().Add(recovered)
			for _, id := range ids {
				for err := start(t.Context(), id); err != nil; err = start(t.Context(), id) {
					if time.Now().After(deadline) {
						t.Fatalf("Power on, when the NAS is itself again: %v", err)
					}
				}
			}
			for runtime.NumGoroutine() > goroutines+10 {
				if time.Now().After(deadline) {
					t.Fatalf("%d goroutines, and %d before", runtime.NumGoroutine(), goroutines)
				}
				time.Sleep(10 * time.Millisecond) // Replaced connections end by themselves.
			}
		})
	}
}

// TestCallsForOneVM: calls wait for each other, but not longer than their deadlines.
func TestCallsForOneVM(t *testing.T) {
	client, nas, ids := crowd(t, "25.10", 1)
	if _, err := client.Validate(t.Context(), &providerv1.ValidateRequest{}); err != nil { // The manager does so before each call.
		t.Fatal(err)
	}
	nas.SetLatency(3 * time.Second)
	errs := atOnce([]string{ids[0], ids[0], ids[0]}, 2*time.Second, func(ctx context.Context, id string) error {
		_, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON})
		return err
	})
	counts := map[codes.Code]int{}
	for _, err := range errs {
		counts[status.Code(err)]++
	}
	if counts[codes.Unavailable] != 1 || counts[codes.Aborted] != 2 {
		t.Errorf("got %v; want one call that waited for the NAS, and two that waited for the first", errs)
	}
}
