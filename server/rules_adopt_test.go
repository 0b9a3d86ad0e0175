package server_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
)

// TestAdoptedVMs: adopted VMs are listed, described and powered like all others. The deletion of their object calls Delete on the
// real VM, which is refused unless the configuration allows it.
func TestAdoptedVMs(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, adopted := range []string{server.Protect, server.Manage} {
			t.Run(release+"/"+adopted, func(t *testing.T) {
				t.Parallel()
				client, nas := busyNAS(t, release, func(c *server.Config) { c.AdoptedVMs = adopted })
				id := idsByName(t, client)["by_hand"]
				for _, step := range []struct {
					op    providerv1.PowerOp
					state string
				}{{providerv1.PowerOp_POWER_OP_ON, "On"}, {providerv1.PowerOp_POWER_OP_OFF, "Off"}} {
					if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: step.op}); err != nil {
						t.Fatal(err)
					}
					if vm := describe(t, client, id); vm.GetPowerState() != step.state {
						t.Errorf("after %v it is %q", step.op, vm.GetPowerState())
					}
				}
				remove := func() error {
					_, err := client.Delete(t.Context(), &providerv1.DeleteRequest{Id: id})
					return err
				}
				if adopted == server.Protect {
					untouched(t, nas, remove, codes.FailedPrecondition, "by_hand", "adopted_vms")
					return
				}
				if err := remove(); err != nil {
					t.Fatal(err)
				}
				if describe(t, client, id).GetExists() {
					t.Error("the VM still exists")
				}
			})
		}
	}
}
