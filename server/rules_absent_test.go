package server_test

import (
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// replicas returns two providers with one id on one NAS. The first has cached the current state, and then learns of changes through
// events alone.
func replicas(t *testing.T, release string) (first, second providerv1.ProviderClient, api *truenas.Client, nas *sim.Sim) {
	t.Helper()
	nas, address := truenastest.Serve(t, truenastest.Release(release))
	first = withKey(t, address, func(*truenas.Config) {})
	if _, err := first.ListVMs(t.Context(), &providerv1.ListVMsRequest{}); err != nil {
		t.Fatal(err)
	}
	api, err := truenas.New(truenastest.Config(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	second, _ = serve(t, api)
	return first, second, api, nas
}

// TestAbsentIsConfirmed: the manager creates a VM again that is reported as absent.
func TestAbsentIsConfirmed(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, tt := range []struct {
			name   string
			before func(*sim.Sim)
		}{
			{"while the first is listening", func(*sim.Sim) {}},
			{"while the first hears nothing", func(nas *sim.Sim) { nas.CutConnections() }},
			{"while the middleware restarts", func(nas *sim.Sim) { nas.RestartMiddleware() }},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				first, second, api, nas := replicas(t, release)
				tt.before(nas)
				made, err := second.Create(t.Context(), wanted("web-1"))
				if err != nil {
					t.Fatal(err)
				}
				if !describe(t, first, made.GetId()).GetExists() {
					t.Fatal("a VM that another replica made is reported as absent")
				}
				tt.before(nas)
				vms, err := api.VMs.ByUUID(t.Context(), made.GetId())
				if err != nil || len(vms) != 1 {
					t.Fatalf("%v, %v", vms, err)
				}
				nas.ResetCalls()
				if err := api.VMs.Delete(t.Context(), vms[0].ID, truenas.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				soon(t, "a VM that was removed by hand is reported as absent", func() bool { return !describe(t, first, made.GetId()).GetExists() })
				if calls := nas.Calls(); !slices.Contains(calls, "vm.query") {
					t.Errorf("the NAS was not queried: %v", calls)
				}
			})
		}
	}
}

// TestUnreachableNASIsUnavailable: an unreachable or silent NAS does not prove that a VM is absent.
func TestUnreachableNASIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			client := withKey(t, address, impatient)
			made, err := client.Create(t.Context(), wanted("web-1"))
			if err != nil {
				t.Fatal(err)
			}
			makeStale := func(id string) {
				t.Helper()
				vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: id})
				if err == nil && !vm.GetExists() {
					t.Error("the VM is reported as absent while the NAS is unreachable")
				}
				if err != nil && status.Code(err) != codes.Unavailable {
					t.Errorf("%v; want Unavailable", err)
				}
			}
			nas.SetOffline(true)
			makeStale(made.GetId())
			makeStale(absentID)
			if describe(t, client, "no id at all").GetExists() {
				t.Error("a malformed id has a VM")
			}
			nas.SetOffline(false)
			soon(t, "the VM is seen again", func() bool {
				vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: made.GetId()})
				return err == nil && vm.GetExists()
			})
			for _, fault := range []sim.Action{sim.Refuse, sim.CutBefore} {
				nas.Inject(sim.Fault{Method: "vm.query", Then: fault})
				vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: made.GetId()})
				if err == nil && !vm.GetExists() {
					t.Error("the VM is reported as absent without a confirmation of the NAS")
				}
				nas.ClearFaults()
				nas.Inject(sim.Fault{Method: "vm.query", Then: fault})
				if vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: absentID}); fault == sim.Refuse && err == nil {
					t.Errorf("the NAS failed, and the answer is %v", vm)
				}
				nas.ClearFaults()
			}
		})
	}
}
