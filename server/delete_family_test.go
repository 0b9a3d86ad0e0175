package server_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestVMAndItsClonesAreDeletedAtOnce deletes a running VM and its clones through two replicas, as the manager does when it removes
// a namespace. The manager forgets a VM that Delete reports as absent, so that no response may do so while the VM exists. The
// test retries every failed call.
func TestVMAndItsClonesAreDeletedAtOnce(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			for round := range 5 {
				nas, address := truenastest.Serve(t, truenastest.Release(release))
				replicas := []providerv1.ProviderClient{withKey(t, address, func(*truenas.Config) {}), withKey(t, address, func(*truenas.Config) {})}
				f := newFamily(t, replicas[0], nas)
				f.create("web")
				f.clone("web", "linked", true)
				f.clone("linked", "again", true)
				f.clone("web", "full", false)
				for _, name := range []string{"web", "again"} {
					if _, err := f.client.Power(t.Context(), &providerv1.PowerRequest{Id: f.ids[name], Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
						t.Fatal(err)
					}
				}
				var gone sync.WaitGroup
				i := round
				for name, id := range f.ids {
					client := replicas[i%2]
					i++
					gone.Go(func() {
						deleteUntilGone(t, client, id)
						for _, vm := range nas.VMs() {
							if vm.Config["uuid"] == id {
								t.Errorf("round %d: the deleted %s is on the NAS", round, name)
							}
						}
					})
				}
				gone.Wait()
				for _, d := range nas.State().Datasets {
					if strings.HasPrefix(d.Name, "tank/virtrigaud/vms/") {
						t.Errorf("round %d: %s is left", round, d.Name)
					}
				}
			}
		})
	}
}

// deleteUntilGone retries as the manager does, but sooner.
func deleteUntilGone(t *testing.T, client providerv1.ProviderClient, id string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		_, err := client.Delete(t.Context(), &providerv1.DeleteRequest{Id: id})
		switch status.Code(err) {
		case codes.OK:
			return
		case codes.Aborted, codes.FailedPrecondition, codes.Unavailable:
			time.Sleep(20 * time.Millisecond) // The manager takes five seconds.
		default:
			t.Errorf("deleting %s: %v", id, err)
			return
		}
	}
	t.Errorf("%s is not deleted after a minute of requests", id)
}
