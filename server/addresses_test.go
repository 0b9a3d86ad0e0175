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

// eventually polls until the result is the wanted one.
func eventually(t *testing.T, want []string, ask func() []string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if got = ask(); reflect.DeepEqual(got, want) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("got %v, want %v", got, want)
}

func TestAddressesOfGuests(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			addImage(t, nas)
			nas.SetGuest("", sim.Guest{Agent: true, Addresses: []string{"192.0.2.77/24"}})
			id := newVM(t, client, "web-1")
			ctx := context.Background()
			ips := func() []string {
				d, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: id})
				if err != nil {
					t.Fatal(err)
				}
				return d.GetIps()
			}
			if got := ips(); len(got) > 0 {
				t.Errorf("a VM that is off has the addresses %v", got)
			}
			if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
				t.Fatal(err)
			}
			eventually(t, []string{"192.0.2.77"}, ips)
		})
	}
}

func TestAddressesAreNotGuessedWithoutTheRight(t *testing.T) {
	t.Parallel()
	nas, s := truenastest.New(t, truenastest.Release("25.10"))
	s.SetGuest("", sim.Guest{Agent: true, Addresses: []string{"192.0.2.77/24"}})
	client, _ := serve(t, nas)
	addImage(t, s)
	req := wanted("web-1")
	req.ImageJson, req.UserData, req.NetworksJson = `{"Path":"tank/templates/gold@v1"}`, nil, `[{"Bridge":"br0"}]`
	s.SetRoles(sim.DefaultUser, "VM_WRITE", "VM_DEVICE_WRITE", "DATASET_WRITE", "DATASET_READ", "SNAPSHOT_WRITE", "SNAPSHOT_READ")
	ctx := context.Background()
	made, err := client.Create(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: made.GetId(), Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		d, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: made.GetId()})
		if err != nil || len(d.GetIps()) > 0 {
			t.Fatalf("%v, %v", d, err)
		}
	}
	asked := 0
	for _, method := range s.Calls() {
		if method == "core.arp" {
			asked++
		}
	}
	if asked > 1 {
		t.Errorf("core.arp was called %d times without the right to", asked)
	}
}
