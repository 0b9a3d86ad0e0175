package server_test

import (
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// pair returns two replicas on one NAS.
func pair(t *testing.T, release string) (*sim.Sim, [2]providerv1.ProviderClient) {
	t.Helper()
	nas, address := truenastest.Serve(t, truenastest.Release(release))
	addImage(t, nas)
	var replicas [2]providerv1.ProviderClient
	for i, instance := range []string{"replica-1", "replica-2"} {
		client, stop := startProvider(t, address, func(c *server.Config) { c.Instance = instance })
		t.Cleanup(stop)
		replicas[i] = client
	}
	return nas, replicas
}

// bothCreate creates web-1 with the second replica during the vm.create of the first one.
func bothCreate(t *testing.T, nas *sim.Sim, replicas [2]providerv1.ProviderClient, during request) (first error) {
	t.Helper()
	nas.Inject(sim.Fault{Method: "vm.create", Then: sim.Overlap, During: func() { _ = during(t.Context(), replicas[1]) }})
	first = createWeb1(t.Context(), replicas[0])
	return first
}

// oneWeb1 fails unless the NAS has one record of web-1, with all devices.
func oneWeb1(t *testing.T, nas *sim.Sim) {
	t.Helper()
	if n := len(nas.VMs()); n != 1 {
		t.Fatalf("the NAS has %d records", n)
	}
	wholeWeb1(t, nas.State())
}

func TestTwoReplicasThatCreateOneVMAtOnceLeaveOne(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			nas, replicas := pair(t, release)
			if err := bothCreate(t, nas, replicas, createWeb1); err != nil {
				refusedWith(t, err, "Aborted", "")
			}
			for _, client := range replicas {
				must(t, createWeb1(t.Context(), client))
				oneWeb1(t, nas)
			}
			for i, client := range replicas {
				vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: idOfWeb1})
				must(t, err)
				if !vm.GetExists() || vm.GetPowerState() != "Off" {
					t.Errorf("replica %d: %v", i, vm)
				}
			}
			must(t, power(providerv1.PowerOp_POWER_OP_ON)(t.Context(), replicas[0]))
			must(t, deleteVM(idOfWeb1)(t.Context(), replicas[1]))
			if left := treeOf(nas, tree1); len(left)+len(nas.VMs()) > 0 {
				t.Errorf("Delete leaves %v and %d records", left, len(nas.VMs()))
			}
		})
	}
}

// A replica that dies leaves its record. The next Create or Delete removes it.
func TestASecondRecordIsRemoved(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for name, next := range map[string]request{"by Create": createWeb1, "by Delete": deleteVM(idOfWeb1)} {
			t.Run(release+"/"+name, func(t *testing.T) {
				t.Parallel()
				nas, replicas := pair(t, release)
				nas.Inject(sim.Fault{Method: "vm.delete", Then: sim.Refuse, Err: &sim.CallError{Errno: 14, Reason: "[EFAULT] no"}})
				_ = bothCreate(t, nas, replicas, createWeb1)
				if n := len(nas.VMs()); n != 2 {
					t.Fatalf("the NAS has %d records", n)
				}
				must(t, next(t.Context(), replicas[0]))
				if name == "by Create" {
					oneWeb1(t, nas)
					must(t, power(providerv1.PowerOp_POWER_OP_ON)(t.Context(), replicas[1]))
				} else if left := treeOf(nas, tree1); len(left)+len(nas.VMs()) > 0 {
					t.Errorf("Delete leaves %v and %d records", left, len(nas.VMs()))
				}
			})
		}
	}
}
