package server_test

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// withCopy returns a NAS with web-1, which has a snapshot, and the id of a copy of it that was made in the web interface.
func withCopy(t *testing.T, release, adopted string) (providerv1.ProviderClient, *sim.Sim, string) {
	t.Helper()
	api, nas := truenastest.New(t, truenastest.Release(release))
	client, _ := serve(t, api, func(c *server.Config) { c.AdoptedVMs = adopted })
	withSnapshot(t, client, nas)
	if err := nas.CloneVM("web_1", "copy"); err != nil {
		t.Fatal(err)
	}
	vm, err := api.VMs.ByName(t.Context(), "copy")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(vm.Description, "virtrigaud:") || vm.UUID == idOfWeb1 {
		t.Fatalf("the copy has the description %q and the id %s", vm.Description, vm.UUID)
	}
	return client, nas, vm.UUID
}

// listed returns a VM from ListVMs.
func listed(t *testing.T, client providerv1.ProviderClient, id string) *providerv1.VMInfo {
	t.Helper()
	list, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, vm := range list.GetVms() {
		if vm.GetId() == id {
			return vm
		}
	}
	t.Fatalf("VM %s is not listed", id)
	return nil
}

// rawOf returns the raw data of Describe.
func rawOf(t *testing.T, client providerv1.ProviderClient, id string) map[string]string {
	t.Helper()
	raw := map[string]string{}
	if err := json.Unmarshal([]byte(describe(t, client, id).GetProviderRawJson()), &raw); err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestCopyMadeInTheWebInterface(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Run("is protected", func(t *testing.T) {
				client, nas, id := withCopy(t, release, server.Protect)
				for name, call := range copyCalls(t, client, id) {
					t.Run(name, func(t *testing.T) { untouched(t, nas, call, codes.FailedPrecondition, "copy") })
				}
			})
			t.Run("is listed as unmanaged", func(t *testing.T) {
				client, _, id := withCopy(t, release, server.Protect)
				if raw := rawOf(t, client, id); raw["managed"] != "false" || raw["name"] != "copy" {
					t.Errorf("described as %v", raw)
				}
				if vm := listed(t, client, id); vm.GetName() != "copy" || vm.GetProviderRaw()["managed"] != "false" {
					t.Errorf("listed as %v", vm)
				}
				if vm := listed(t, client, idOfWeb1); vm.GetName() != "web-1" || vm.GetProviderRaw()["managed"] != "true" {
					t.Errorf("the original is listed as %v", vm)
				}
			})
			t.Run("never reaches what is the original's", func(t *testing.T) {
				client, nas, id := withCopy(t, release, server.Manage)
				before := nas.State()
				for name, call := range copyCalls(t, client, id) {
					if name != "Delete" {
						t.Run(name, func(t *testing.T) { untouched(t, nas, call, codes.FailedPrecondition, "copy") })
					}
				}
				if err := deleteVM(id)(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				after := nas.State()
				if len(after.VMs) != 1 || len(after.Datasets) != len(before.Datasets) || len(after.Snapshots) != len(before.Snapshots) {
					t.Errorf("Delete removed more than the copy's record:\n%s", changes(t, before, after))
				}
			})
		})
	}
}

// copyCalls are the calls for a copy that would affect the original's datasets or snapshots.
func copyCalls(t *testing.T, client providerv1.ProviderClient, id string) map[string]func() error {
	return map[string]func() error{
		"Delete": func() error { return deleteVM(id)(t.Context(), client) },
		"SnapshotCreate": func() error {
			_, err := client.SnapshotCreate(t.Context(), &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "s2"})
			return err
		},
		"SnapshotDelete": func() error {
			_, err := client.SnapshotDelete(t.Context(), &providerv1.SnapshotDeleteRequest{VmId: id, SnapshotId: "s1"})
			return err
		},
		"SnapshotRevert": func() error {
			_, err := client.SnapshotRevert(t.Context(), &providerv1.SnapshotRevertRequest{VmId: id, SnapshotId: "s1"})
			return err
		},
		"Reconfigure": func() error {
			_, err := client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: id, DesiredJson: desired(2, 2048, 20, `[{"SizeGiB":5,"Name":"data"},{"SizeGiB":7,"Name":"new"}]`)})
			return err
		},
		"Clone": func() error {
			_, err := client.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: id, TargetName: "web-9", Linked: true})
			return err
		},
	}
}

// An edited or empty description of a VM makes no difference.
func TestEditedDescription(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, text := range []string{"", "my web server", "db-7 [virtrigaud:name=db-7&provider=test]", "x [virtrigaud:name=web-1&provider=another]"} {
			t.Run(release+"/"+text, func(t *testing.T) {
				t.Parallel()
				api, nas := truenastest.New(t, truenastest.Release(release))
				client, _ := serve(t, api)
				withSnapshot(t, client, nas)
				edit(t, api, "web_1", text)
				if raw := rawOf(t, client, idOfWeb1); raw["managed"] != "true" || raw["name"] != "web-1" {
					t.Errorf("described as %v", raw)
				}
				fresh, _ := serve(t, api) // It has no cached state.
				for _, step := range []request{createWeb1, revertWeb1} {
					if err := step(t.Context(), fresh); err != nil {
						t.Fatal(err)
					}
				}
				edit(t, api, "web_1", text)
				fresh, _ = serve(t, api)
				for _, step := range []request{reconfigureWeb1, deleteSnapshot, deleteVM(idOfWeb1)} {
					if err := step(t.Context(), fresh); err != nil {
						t.Fatal(err)
					}
				}
				if state := nas.State(); len(state.VMs) > 0 || len(below(state, "tank/virtrigaud/vms/")) > 0 {
					t.Errorf("leftovers: %+v", state)
				}
			})
		}
	}
}

func edit(t *testing.T, api *truenas.Client, name, description string) {
	t.Helper()
	vm, err := api.VMs.ByName(t.Context(), name)
	if err == nil {
		_, err = api.VMs.Update(t.Context(), vm.ID, truenas.VMUpdate{Description: &description})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A VM whose description was edited during the copy of its disks does not count as complete.
func TestEditedDescriptionOfAnUnfinishedClone(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, truenastest.Release(release))
			client, _ := serve(t, api)
			deleteUnfinished.prepare(t, client, nas)
			edit(t, api, "web_2", "")
			fresh, _ := serve(t, api)
			_, err := fresh.Power(t.Context(), &providerv1.PowerRequest{Id: idOfWeb2, Op: providerv1.PowerOp_POWER_OP_ON})
			refusedWith(t, err, "Aborted", "full clone in progress")
			if err := awaited(t.Context(), fresh, &providerv1.TaskRef{Id: "clone/" + idOfWeb2}); err != nil {
				t.Fatal(err)
			}
			if raw := rawOf(t, fresh, idOfWeb2); raw["state"] != "STOPPED" || raw["name"] != "web-2" {
				t.Errorf("described as %v", raw)
			}
		})
	}
}

// A replica of a VM's dataset has the same properties. From 25.10 on TrueNAS does not report that they were received.
func TestDeleteLeavesReplicas(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onPools(t, release)
			withWeb1(t, client, nas)
			props := map[string]string{}
			for _, d := range nas.State().Datasets {
				if d.Name == "tank/virtrigaud/vms/web_1" {
					props = d.User
				}
			}
			for _, name := range []string{"flash/virtrigaud", "flash/virtrigaud/vms"} {
				if err := nas.AddDataset(name, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := nas.AddDataset("flash/virtrigaud/vms/web_1", props); err != nil {
				t.Fatal(err)
			}
			if err := deleteVM(idOfWeb1)(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if state := nas.State(); len(below(state, "tank/virtrigaud/vms/")) > 0 || len(below(state, "flash/virtrigaud/vms/")) != 1 {
				t.Errorf("leftovers: %v, %v", below(state, "tank/virtrigaud/vms/"), below(state, "flash/virtrigaud/vms/"))
			}
		})
	}
}

// Two providers with one id on one NAS, each with a different dataset, have VMs with the same ids. Neither takes the other's.
func TestTwoDatasetsOfOneID(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, truenastest.Release(release))
			client, _ := serve(t, api)
			withWeb1(t, client, nas)
			other, _ := serve(t, api, func(c *server.Config) { c.Dataset = "tank/development" })
			untouched(t, nas, func() error { return createWeb1(t.Context(), other) }, codes.AlreadyExists, "tank/virtrigaud", "id")
			untouched(t, nas, func() error { return deleteVM(idOfWeb1)(t.Context(), other) }, codes.FailedPrecondition, "web_1", "storage.dataset")
			untouched(t, nas, func() error { return snapshotWeb1(t.Context(), other) }, codes.FailedPrecondition, "web_1")
			if raw := rawOf(t, other, idOfWeb1); raw["managed"] != "false" {
				t.Errorf("described as %v", raw)
			}
		})
	}
}
