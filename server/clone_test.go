package server_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

func TestClone(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, tt := range []struct {
			name   string
			linked bool
		}{{"linked", true}, {"full", false}} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				client, nas := onRelease(t, release)
				addImage(t, nas)
				source := newVM(t, client, "web-1")
				ctx := context.Background()
				write(t, nas, "tank/virtrigaud/vms/web_1/root", "first")
				if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: source, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
					t.Fatal(err)
				}
				req := &providerv1.CloneRequest{SourceVmId: source, TargetName: "web-2", Linked: tt.linked,
					ClassJson: `{"cpu":4,"memory":"4Gi","firmware":"UEFI"}`, CustomizeJson: `{"hostname":"second"}`}
				first, err := client.Clone(ctx, req)
				if err != nil || first.GetTask() != nil {
					t.Fatalf("a clone that is made in an instant: %v, %v", first, err)
				}
				again, err := client.Clone(ctx, req)
				if err != nil || again.GetTargetVmId() != first.GetTargetVmId() || first.GetTargetVmId() == source {
					t.Fatalf("again: %v, %v", again, err)
				}
				if got := read(t, nas, "tank/virtrigaud/vms/web_2/root", 5); got != "first" {
					t.Errorf("the clone's disk holds %q", got)
				}
				checkIdentity(t, client, nas, source, first.GetTargetVmId())
				// The source goes first; the clone keeps its data.
				for _, id := range []string{source, first.GetTargetVmId()} {
					if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: id}); err != nil {
						t.Fatal(err)
					}
					if id == source {
						if got := read(t, nas, "tank/virtrigaud/vms/web_2/root", 5); got != "first" {
							t.Errorf("without its source the clone's disk holds %q", got)
						}
					}
				}
				if left := below(nas.State(), "tank/virtrigaud/vms/"); len(left) > 0 || len(nas.State().Snapshots) != 1 {
					t.Errorf("leftovers: %v, %v", left, nas.State().Snapshots)
				}
			})
		}
	}
}

// checkIdentity compares a clone with its source: it is off, with separate addresses and a separate seed.
func checkIdentity(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim, source, clone string) {
	t.Helper()
	list, err := client.ListVMs(context.Background(), &providerv1.ListVMsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	vms := map[string]*providerv1.VMInfo{}
	for _, vm := range list.GetVms() {
		vms[vm.GetId()] = vm
	}
	a, b := vms[source], vms[clone]
	if b.GetPowerState() != "Off" || b.GetCpu() != 4 || b.GetMemoryMib() != 4096 || len(b.GetDisks()) != len(a.GetDisks()) {
		t.Errorf("clone: %v", b)
	}
	if a.GetNetworks()[0].GetMac() == b.GetNetworks()[0].GetMac() || b.GetNetworks()[0].GetName() != "br0" {
		t.Errorf("the clone's NIC: %v", b.GetNetworks()[0])
	}
	for _, d := range nas.State().Datasets {
		for _, f := range d.Files {
			if d.Name != "tank/virtrigaud/vms/web_2" || !strings.HasSuffix(f.Path, ".iso") {
				continue
			}
			image, err := nas.File("/mnt/" + d.Name + "/" + f.Path)
			if err != nil {
				t.Fatal(err)
			}
			text := string(image)
			if !strings.Contains(text, `local-hostname: "second"`) || !strings.Contains(text, clone) || !strings.Contains(text, "hostname: x") || strings.Contains(text, "192.0.2.10") {
				t.Error("the clone's seed is not its own")
			}
			return
		}
	}
	t.Error("the clone has no seed")
}

func TestCloneOfAnAbsentVM(t *testing.T) {
	client, _ := onRelease(t, "25.10")
	if _, err := client.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2"}); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
}
