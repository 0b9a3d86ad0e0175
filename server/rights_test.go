package server_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// leastRoles are the roles of a provider whose VMs have no seeds and no downloaded images.
var leastRoles = []string{"VM_READ", "VM_WRITE", "VM_DEVICE_READ", "VM_DEVICE_WRITE", "DATASET_READ", "DATASET_WRITE", "DATASET_DELETE", "SNAPSHOT_READ", "SNAPSHOT_WRITE", "SNAPSHOT_DELETE"}

func TestKeyWithoutTheRightToUpload(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			nas, simulated := truenastest.New(t, func(c *sim.Config) {
				c.Release = release
				c.Keys = []sim.Key{{Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Roles: leastRoles}}
			})
			client, _ := serve(t, nas, loopbackImages)
			addImage(t, simulated)
			ctx := context.Background()
			clones := release != "25.04.2" // There, the clone of a snapshot needs FULL_ADMIN.
			offered, err := client.GetCapabilities(ctx, &providerv1.GetCapabilitiesRequest{})
			if err != nil || offered.GetSupportsImageImport() || offered.GetSupportsDiskImport() || offered.GetSupportsDiskExport() || offered.GetSupportsSnapshots() != clones {
				t.Errorf("offered: %v, %v", offered, err)
			}
			req := wanted("web-1")
			if clones {
				req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
			}
			before := simulated.State()
			_, err = client.Create(ctx, req)
			refusedWith(t, err, "PermissionDenied", "user_data")
			_, err = prepare(t, client, `{"source":{"libvirt":{"url":"https://example.com/disk.raw"}}}`)
			refusedWith(t, err, "PermissionDenied", "image_json")
			if !reflect.DeepEqual(before, simulated.State()) {
				t.Error("the NAS changed before the refusal")
			}
			req.UserData, req.NetworksJson = nil, `[{"Bridge":"br0"}]`
			if _, err := client.Create(ctx, req); err != nil {
				t.Errorf("a VM that needs no upload: %v", err)
			}
		})
	}
}

func TestCapabilitiesAreNotGuessed(t *testing.T) {
	t.Parallel()
	nas, simulated := truenastest.New(t)
	simulated.SetOffline(true)
	client, _ := serve(t, nas)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if offered, err := client.GetCapabilities(ctx, &providerv1.GetCapabilitiesRequest{}); err == nil {
		t.Errorf("of a NAS that was never reached: %v", offered)
	}
	simulated.SetOffline(false)
	if offered, err := client.GetCapabilities(context.Background(), &providerv1.GetCapabilitiesRequest{}); err != nil || !offered.GetSupportsImageImport() {
		t.Errorf("after the first connection: %v, %v", offered, err)
	}
}
