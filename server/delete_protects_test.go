package server_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// fresh returns a provider without cached state.
func fresh(t *testing.T, address *sim.Server, opts ...func(*server.Config)) (providerv1.ProviderClient, *server.Server) {
	t.Helper()
	api, err := truenas.New(truenastest.Config(address))
	must(t, err)
	t.Cleanup(func() { _ = api.Close() })
	return serve(t, api, opts...)
}

// TestDeleteKeepsConcurrentClones clones a snapshot of the VM's disk at the n-th call of Delete, for every n.
// Either the clone keeps its contents and its origin, or the clone call fails because the snapshot is gone.
func TestDeleteKeepsConcurrentClones(t *testing.T) {
	t.Parallel()
	const mine = "tank/mine"
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			client, stop := startProvider(t, address)
			withForeignSnapshots(t, client, nas)
			write(t, nas, data1, "precious")
			periodic(t, nas, "auto-3")
			var saved bytes.Buffer
			must(t, nas.Save(&saved))
			nas.ResetCalls()
			must(t, deleteVM(idOfWeb1)(t.Context(), client))
			calls := len(nas.Calls())
			stop()
			for n := 1; n <= calls; n++ { // until the snapshot is destroyed
				must(t, nas.Load(bytes.NewReader(saved.Bytes())))
				client, stop := startProvider(t, address)
				cloned := false
				nas.ResetCalls()
				nas.OnCall(func(i int, _ string) {
					if i == n {
						cloned = nas.AddClone(data1+"@auto-3", mine) == nil
					}
				})
				err := deleteVM(idOfWeb1)(t.Context(), client)
				nas.OnCall(nil)
				if !cloned {
					stop()
					break // The snapshot is gone by then.
				}
				if err == nil {
					t.Errorf("call %d: Delete answers success although its disk has a clone", n)
				}
				if got := read(t, nas, mine, 8); got != "precious" {
					t.Errorf("call %d: the clone holds %q", n, got)
				}
				if !slices.ContainsFunc(nas.VMs(), func(vm sim.VMState) bool { return vm.Name == "web_1" }) {
					t.Errorf("call %d: the record of the VM is gone", n)
				}
				refusedWith(t, deleteVM(idOfWeb1)(t.Context(), client), "FailedPrecondition", mine+" is a clone of "+data1+"@auto-3")
				must(t, nas.RemoveDataset(mine))
				must(t, deleteVM(idOfWeb1)(t.Context(), client))
				if left := treeOf(nas, tree1); len(left) > 0 {
					t.Errorf("call %d: Delete leaves %v", n, left)
				}
				stop()
			}
		})
	}
}

// TestDeleteAmidPeriodicSnapshots takes a snapshot of all disks at each call. Delete leaves no object.
func TestDeleteAmidPeriodicSnapshots(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			withForeignSnapshots(t, client, nas)
			taken := 0
			nas.OnCall(func(n int, method string) {
				if strings.HasSuffix(method, ".delete") && taken < 3 {
					taken++
					periodic(t, nas, "auto-at-"+string(rune('a'+taken)))
				}
			})
			must(t, deleteVM(idOfWeb1)(t.Context(), client))
			if left := treeOf(nas, tree1); len(left) > 0 || taken < 3 {
				t.Errorf("Delete leaves %v; %d snapshots were taken meanwhile", left, taken)
			}
		})
	}
}

// TestDeleteRefusesToOrphanDisks: the VM keeps its record while its disks cannot be accounted for.
func TestDeleteRefusesToOrphanDisks(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		for _, tt := range []struct {
			name  string
			spoil func(t *testing.T, api *truenas.Client, nas *sim.Sim)
			says  string
		}{
			{"the properties of the dataset were changed", func(t *testing.T, api *truenas.Client, _ *sim.Sim) {
				_, err := api.Datasets.Update(t.Context(), tree1, truenas.DatasetUpdate{SetUserProperties: map[string]string{"virtrigaud:machine": "none", "virtrigaud:provider": ""}})
				must(t, err)
			}, "has lost its user properties"},
			{"a file system of another client in the dataset", func(t *testing.T, _ *truenas.Client, nas *sim.Sim) {
				must(t, nas.AddDataset(tree1+"/mine", nil))
			}, tree1 + "/mine was not made by this provider"},
			{"a volume of another client below a file system in the dataset", func(t *testing.T, _ *truenas.Client, nas *sim.Sim) {
				must(t, nas.AddDataset(tree1+"/mine", nil))
				must(t, nas.AddVolume(tree1+"/mine/disk", 1<<30, nil))
			}, "was not made by this provider"},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				api, nas := truenastest.New(t, truenastest.Release(release))
				client, _ := serve(t, api)
				withWeb1(t, client, nas)
				tt.spoil(t, api, nas)
				before := nas.State()
				refusedWith(t, deleteVM(idOfWeb1)(t.Context(), client), "FailedPrecondition", tt.says)
				same(t, before, nas.State())
			})
		}
	}
}

// TestDeleteLeavesImportsOfOthers attaches a disk below imports that was not landed for the VM: one that its dataset does not
// record, and one without a mark below a marked dataset.
func TestDeleteLeavesImportsOfOthers(t *testing.T) {
	t.Parallel()
	const imports, other = "tank/virtrigaud/imports", "tank/virtrigaud/imports/other"
	for _, release := range releases {
		for _, tt := range []struct {
			name         string
			above, marks map[string]string
			record       bool
		}{
			{"not recorded", nil, map[string]string{"virtrigaud:provider": "test", "virtrigaud:name": "other"}, false},
			{"marks inherited", map[string]string{"virtrigaud:provider": "test"}, nil, true},
		} {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				api, nas := truenastest.New(t, truenastest.Release(release))
				client, _ := serve(t, api)
				withWeb1(t, client, nas)
				must(t, nas.AddDataset(imports, tt.above))
				must(t, nas.AddDataset(other, tt.marks))
				must(t, nas.AddVolume(other+"/disk", 1<<30, map[string]string{"virtrigaud:state": "ready"}))
				write(t, nas, other+"/disk", "precious")
				vm, err := api.VMs.ByName(t.Context(), "web_1")
				must(t, err)
				_, err = api.Devices.Create(t.Context(), truenas.DeviceCreate{VM: vm.ID, Attributes: truenas.Disk("/dev/zvol/" + other + "/disk")})
				must(t, err)
				if tt.record {
					_, err = api.Datasets.Update(t.Context(), tree1, truenas.DatasetUpdate{SetUserProperties: map[string]string{"virtrigaud:import": other}})
					must(t, err)
				}
				must(t, deleteVM(idOfWeb1)(t.Context(), client))
				if got := read(t, nas, other+"/disk", 8); got != "precious" {
					t.Errorf("the import holds %q", got)
				}
				if left := treeOf(nas, tree1); len(left) > 0 {
					t.Errorf("Delete leaves %v", left)
				}
			})
		}
	}
}

// TestPruneKeepsAnImageClonedMeanwhile makes a VM from an image during Prune, at each call.
func TestPruneKeepsAnImageClonedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			client, provider := fresh(t, address, loopbackImages)
			image, _ := serveImage(t)
			resp, err := prepare(t, client, image.job(image.checksum()))
			must(t, err)
			finish(t, client, resp.GetTask())
			ready := resp.GetPreparedImagePath()
			var saved bytes.Buffer
			must(t, nas.Save(&saved))
			nas.ResetCalls()
			prune(t, provider, 1)
			for n := 1; n <= len(nas.Calls()); n++ {
				must(t, nas.Load(bytes.NewReader(saved.Bytes())))
				_, provider := fresh(t, address, loopbackImages)
				cloned := false
				nas.ResetCalls()
				nas.OnCall(func(i int, _ string) {
					if i == n {
						cloned = nas.AddClone(ready, "tank/mine") == nil
					}
				})
				removed, err := provider.PruneImages(t.Context(), 0, false)
				if err != nil || len(removed) > 0 == cloned {
					t.Errorf("call %d: cloned %t, pruned %v, %v", n, cloned, removed, err)
				}
				nas.OnCall(nil)
				exists := slices.ContainsFunc(nas.State().Datasets, func(d sim.DatasetState) bool { return d.Name == "tank/mine" })
				snapshot := slices.ContainsFunc(nas.State().Snapshots, func(s sim.SnapshotState) bool { return s.ID == ready })
				if exists != cloned || cloned && !snapshot {
					t.Errorf("call %d: cloned %t; the clone exists: %t, its image: %t", n, cloned, exists, snapshot)
				}
			}
		})
	}
}

func prune(t *testing.T, provider *server.Server, want int) {
	t.Helper()
	removed, err := provider.PruneImages(t.Context(), 0, false)
	if err != nil || len(removed) != want {
		t.Errorf("pruned %v, %v; want %d", removed, err, want)
	}
}

// TestDeleteKeepsTheRecordUntilTheDisksAreGone: TrueNAS 26 and 27 answer success for a volume that is in use.
func TestDeleteKeepsTheRecordUntilTheDisksAreGone(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"26", "27"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			withWeb1(t, client, nas)
			must(t, nas.AddVM("other", 1, 512))
			before := len(nas.VMs())
			nas.OnCall(func(_ int, method string) {
				if method == "vm.delete" && len(treeOf(nas, tree1)) > 1 {
					t.Errorf("the record is removed while %v exist", treeOf(nas, tree1))
				}
			})
			must(t, deleteVM(idOfWeb1)(t.Context(), client))
			if len(nas.VMs()) != before-1 {
				t.Error("the VM is not deleted")
			}
		})
	}
}

// TestDeleteReadsAgainAfterThePowerOff: objects that another client puts into the dataset of a VM during its power-off stay, and so
// do the disks and the record of the VM.
func TestDeleteReadsAgainAfterThePowerOff(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release)
			withWeb1Running(t, client, nas)
			disks := treeOf(nas, tree1)
			nas.OnCall(func(_ int, method string) {
				if method == "vm.poweroff" {
					must(t, nas.AddDataset(tree1+"/mine", nil))
				}
			})
			refusedWith(t, deleteVM(idOfWeb1)(t.Context(), client), "FailedPrecondition", tree1+"/mine was not made by this provider")
			nas.OnCall(nil)
			for _, d := range append(disks, tree1+"/mine") {
				if !slices.Contains(treeOf(nas, tree1), d) {
					t.Errorf("Delete has destroyed %s", d)
				}
			}
			if len(nas.VMs()) != 1 {
				t.Error("Delete has removed the record of the VM")
			}
		})
	}
}

// TestDeleteOfAnImportByItsOwner: the disk that a migration imported for a VM goes with the VM, also when both have an owner. A disk
// that was imported for another owner stays.
func TestDeleteOfAnImportByItsOwner(t *testing.T) {
	const imports, disk = "tank/virtrigaud/imports", "tank/virtrigaud/imports/web-1"
	for owner, goes := range map[string]bool{"": true, uidA: true, "22222222-0000-4000-8000-000000000000": false} {
		t.Run("owner "+owner, func(t *testing.T) {
			t.Parallel()
			api, nas := truenastest.New(t)
			client, _ := serve(t, api)
			addImage(t, nas)
			req := web1()
			req.Owner = &providerv1.ObjectIdentity{Uid: uidA, Namespace: "team-a", Name: "web-1"}
			made, err := client.Create(t.Context(), req)
			must(t, err)
			marks := map[string]string{"virtrigaud:provider": "test", "virtrigaud:name": "web-1"}
			if owner != "" {
				marks["virtrigaud:owner"] = owner
			}
			must(t, nas.AddDataset(imports, nil))
			must(t, nas.AddDataset(disk, marks))
			must(t, nas.AddVolume(disk+"/disk", 1<<30, map[string]string{"virtrigaud:state": "ready"}))
			vms, err := api.VMs.ByUUID(t.Context(), made.GetId())
			must(t, err)
			home := strings.TrimSuffix(strings.TrimPrefix(vms[0].Devices[0].Attributes.Path, "/dev/zvol/"), "/root")
			_, err = api.Devices.Create(t.Context(), truenas.DeviceCreate{VM: vms[0].ID, Attributes: truenas.Disk("/dev/zvol/" + disk + "/disk")})
			must(t, err)
			_, err = api.Datasets.Update(t.Context(), home, truenas.DatasetUpdate{SetUserProperties: map[string]string{"virtrigaud:import": disk}})
			must(t, err)
			must(t, deleteVM(made.GetId())(t.Context(), client))
			if left := treeOf(nas, disk); (len(left) == 0) != goes {
				t.Errorf("of the import remain %v", left)
			}
			if left := treeOf(nas, home); len(left) > 0 {
				t.Errorf("Delete leaves %v", left)
			}
		})
	}
}
