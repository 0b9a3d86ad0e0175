package soak

import (
	"context"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
)

// Two clusters on one NAS: the providers of production, and that of a second cluster, which was deployed with the same id and
// dataset by mistake. Its requests contain ids of production's VMs, and must not change anything.

func installation(cluster string) server.Installation {
	return server.Installation{Owner: "virtrigaud/truenas", Cluster: cluster}
}

// sendForeignChanges sends changes of production's VMs to the provider of the second cluster, until ctx ends. Each request must be refused.
func (w *world) sendForeignChanges(ctx context.Context) {
	for ctx.Err() == nil && !w.stopped() {
		for id := range w.existingIDs() {
			for name, request := range map[string]rpc{
				"Delete": func(ctx context.Context, client providerv1.ProviderClient) error {
					_, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id})
					return err
				},
				"Power off": func(ctx context.Context, client providerv1.ProviderClient) error {
					_, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_OFF})
					return err
				},
				"SnapshotCreate": func(ctx context.Context, client providerv1.ProviderClient) error {
					_, err := client.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "intruder"})
					return err
				},
			} {
				one, cancel := context.WithTimeout(ctx, patience)
				err := request(one, w.other.client)
				cancel()
				if err == nil {
					w.violated("%s of VM %s succeeded in another cluster's provider", name, id)
				}
				w.judge(ctx, w.other.instance+": "+name, err)
				w.counted(w.counts, "request of another cluster")
			}
			pause(ctx, 50*time.Millisecond)
		}
		pause(ctx, 50*time.Millisecond)
	}
}
