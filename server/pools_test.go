package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// The VM of these tests has its root disk and one disk on the pool tank, and another disk on the pool rust.
const (
	home1  = "tank/virtrigaud/vms/web_1"
	place1 = "rust/virtrigaud/vms/web_1"

	claimOfTest = "virtrigaud:installation-9f86d081884c" // of a provider with the id "test"

	twoPools  = `[{"Name":"data","SizeGiB":5},{"Name":"bulk","SizeGiB":7,"StorageClass":"rust"}]`
	morePools = `[{"Name":"data","SizeGiB":5},{"Name":"bulk","SizeGiB":9,"StorageClass":"rust"},{"Name":"more","SizeGiB":3,"StorageClass":"rust"},{"Name":"fast","SizeGiB":2,"StorageClass":"flash"}]`
)

// poolsOf gives a NAS the pools tank, rust and flash.
func poolsOf(c *sim.Config) {
	c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "rust", SizeBytes: 4 << 40}, {Name: "flash", SizeBytes: 100 << 30, Flash: true}}
}

// pooled is a provider over such a NAS.
type pooled struct {
	t        *testing.T
	client   providerv1.ProviderClient
	provider *server.Server
	api      *truenas.Client
	nas      *sim.Sim
}

func newPooled(t *testing.T, release string, opts ...func(*server.Config)) pooled {
	t.Helper()
	api, nas := truenastest.New(t, truenastest.Release(release), poolsOf, func(c *sim.Config) { c.Clock = lateClock{} })
	client, provider := serve(t, api, append(opts, brief)...)
	addImage(t, nas)
	return pooled{t, client, provider, api, nas}
}

// brief makes objects that are a moment old count as settled.
func brief(c *server.Config) { c.LeaseFor = 1 }

func onTwoPools(disks string) *providerv1.CreateRequest {
	req := web1()
	req.UserData, req.NetworksJson, req.DisksJson = nil, `[{"Bridge":"br0"}]`, disks
	return req
}

func createOnPools(ctx context.Context, client providerv1.ProviderClient) error {
	_, err := client.Create(ctx, onTwoPools(twoPools))
	return err
}

func (p pooled) create(disks string) error {
	_, err := p.client.Create(p.t.Context(), onTwoPools(disks))
	return err
}

func (p pooled) reconfigure(disks string) error {
	_, err := p.client.Reconfigure(p.t.Context(), &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: desired(2, 2048, 20, disks)})
	return err
}

func (p pooled) delete() error { return deleteVM(idOfWeb1)(p.t.Context(), p.client) }

func (p pooled) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// unchanged makes a call that has to be refused and to change nothing.
func (p pooled) unchanged(do func() error, code, text string) {
	p.t.Helper()
	before := p.nas.State()
	refusedWith(p.t, do(), code, text)
	if after := p.nas.State(); !reflect.DeepEqual(before, after) {
		p.t.Errorf("the NAS has changed:\n%s", changes(p.t, before, after))
	}
}

// sizes returns the sizes of the VM's volumes in GiB, by name.
func (p pooled) sizes() map[string]int64 {
	found := map[string]int64{}
	for _, d := range p.nas.State().Datasets {
		if path.Base(path.Dir(d.Name)) == "web_1" {
			found[d.Name] = d.Size >> 30
		}
	}
	return found
}

func (p pooled) user(dataset string) map[string]string {
	for _, d := range p.nas.State().Datasets {
		if d.Name == dataset {
			return d.User
		}
	}
	return nil
}

// everyRelease runs a test on all releases.
func everyRelease(t *testing.T, test func(*testing.T, pooled), opts ...func(*server.Config)) {
	for _, release := range allReleases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			test(t, newPooled(t, release, opts...))
		})
	}
}

func TestDisksOnSeveralPools(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		bare := dropTree(p.nas.State())
		p.must(p.create(twoPools))
		want := map[string]int64{home1 + "/root": 20, home1 + "/data": 5, place1 + "/bulk": 7}
		if got := p.sizes(); !maps.Equal(got, want) {
			t.Fatalf("disks: %v", got)
		}
		if home, place := p.user(home1), p.user(place1); home["virtrigaud:pools"] != "rust" || home["virtrigaud:home"] != "" || place["virtrigaud:home"] != home1 || place["virtrigaud:machine"] != idOfWeb1 || place["virtrigaud:dataset"] != place1 {
			t.Errorf("marks: %v and %v", home, place)
		}
		p.shown("/dev/zvol/"+place1+"/bulk", 7)

		made := p.nas.State()
		p.must(p.create(twoPools))
		p.must(p.reconfigure(twoPools))
		if again := p.nas.State(); !reflect.DeepEqual(made, again) {
			t.Errorf("a repetition changed the NAS:\n%s", changes(t, made, again))
		}

		p.must(p.reconfigure(morePools))
		p.must(p.reconfigure(morePools))
		p.must(p.create(morePools))
		want = map[string]int64{home1 + "/root": 20, home1 + "/data": 5, place1 + "/bulk": 9, place1 + "/more": 3, "flash/virtrigaud/vms/web_1/fast": 2}
		if got := p.sizes(); !maps.Equal(got, want) {
			t.Fatalf("disks: %v", got)
		}
		if home := p.user(home1); home["virtrigaud:pools"] != "flash,rust" {
			t.Errorf("marks: %v", home)
		}
		p.must(turnOn(t.Context(), p.client))
		p.must(p.delete())
		p.must(p.delete())
		if got := dropTree(p.nas.State()); !reflect.DeepEqual(bare, got) {
			t.Errorf("Delete left:\n%s", changes(t, bare, got))
		}
	})
}

// shown finds a disk in the responses of Describe and ListVMs.
func (p pooled) shown(device string, gib int32) {
	p.t.Helper()
	found, err := p.client.Describe(p.t.Context(), &providerv1.DescribeRequest{Id: idOfWeb1})
	var raw map[string]string
	if err := errors.Join(err, json.Unmarshal([]byte(found.GetProviderRawJson()), &raw)); err != nil || !strings.Contains(raw["volumes"], strings.TrimPrefix(device, "/dev/zvol/")) {
		p.t.Errorf("described as %v, %v", raw, err)
	}
	list, err := p.client.ListVMs(p.t.Context(), &providerv1.ListVMsRequest{})
	if err != nil || len(list.GetVms()) != 1 || !slices.ContainsFunc(list.GetVms()[0].GetDisks(), func(d *providerv1.DiskInfo) bool { return d.GetPath() == device && d.GetSizeGib() == gib }) {
		p.t.Errorf("listed as %v, %v", list, err)
	}
}

// A disk keeps its pool, and a disk that a request omits is not removed.
func TestDisksStayOnTheirPools(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(p.create(twoPools))
		for _, tt := range []struct{ name, disks, text string }{
			{"without its pool", `[{"Name":"data","SizeGiB":5},{"Name":"bulk","SizeGiB":7}]`, `has disk bulk on pool "rust"`},
			{"on another pool", `[{"Name":"data","SizeGiB":5},{"Name":"bulk","SizeGiB":7,"StorageClass":"flash"}]`, `has disk bulk on pool "rust"`},
			{"left out", sameDisks, `has disk bulk on pool "rust"`},
			{"beside another", `[{"Name":"data","SizeGiB":5},{"Name":"other","SizeGiB":7,"StorageClass":"rust"}]`, `has disk bulk on pool "rust"`},
			{"one that was at home", `[{"Name":"data","SizeGiB":5,"StorageClass":"rust"},{"Name":"bulk","SizeGiB":7,"StorageClass":"rust"}]`, `has disk data on pool "tank"`},
		} {
			t.Run(tt.name, func(t *testing.T) {
				p := p
				p.t = t
				p.unchanged(func() error { return p.create(tt.disks) }, "FailedPrecondition", tt.text)
				p.unchanged(func() error { return p.reconfigure(tt.disks) }, "FailedPrecondition", tt.text)
			})
		}
		p.unchanged(func() error { return p.reconfigure(strings.Replace(twoPools, "7", "6", 1)) }, "FailedPrecondition", "cannot shrink")
		elsewhere := onTwoPools(twoPools)
		for pool, text := range map[string]string{"rust": "holds additional disks of VM", "flash": "not made by this provider for disks of VM"} {
			elsewhere.PlacementJson = fmt.Sprintf(`{"Datastore":%q}`, pool)
			elsewhere.ImageJson = ""
			before := p.nas.State()
			_, err := p.client.Create(t.Context(), elsewhere)
			if err == nil || !strings.Contains(err.Error(), text) || !reflect.DeepEqual(before, p.nas.State()) {
				t.Errorf("placed on %s: %v\n%s", pool, err, changes(t, before, p.nas.State()))
			}
		}
		moved := strings.Replace(desired(2, 2048, 20, twoPools), `"Placement":null`, `"Placement":{"Datastore":"rust"}`, 1)
		p.unchanged(func() error {
			_, err := p.client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: moved})
			return err
		}, "FailedPrecondition", `a VM does not move between pools`)
	})
}

// ZFS takes a snapshot within one pool.
func TestSnapshotsOfSeveralPoolsAreRefused(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(p.create(sameDisks))
		p.must(snapshotWeb1(t.Context(), p.client))
		p.must(p.reconfigure(twoPools))
		const text = `disk bulk of VM "web-1" lies on pool "rust" and its root disk on pool "tank"`
		p.unchanged(func() error {
			_, err := p.client.SnapshotCreate(t.Context(), &providerv1.SnapshotCreateRequest{VmId: idOfWeb1, NameHint: "s2"})
			return err
		}, "FailedPrecondition", text)
		p.unchanged(func() error { return revertWeb1(t.Context(), p.client) }, "FailedPrecondition", text)
		for _, linked := range []bool{true, false} {
			p.unchanged(func() error {
				resp, err := p.client.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: idOfWeb1, TargetName: "web-2", Linked: linked})
				if err == nil {
					err = awaited(t.Context(), p.client, resp.GetTask())
				}
				return err
			}, "FailedPrecondition", text)
		}
		p.must(deleteSnapshot(t.Context(), p.client))
		p.must(p.delete())
	})
}

// A disk is exported alone, through its own pool.
func TestDiskOnAnotherPoolIsExported(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(p.create(`[{"Name":"bulk","SizeGiB":1,"StorageClass":"rust"}]`))
		write(t, p.nas, place1+"/bulk", "bulk")
		vm, err := p.api.VMs.ByName(t.Context(), "web_1")
		p.must(err)
		before := dropTree(p.nas.State())
		for _, d := range vm.Devices {
			if d.Attributes.Path == "/dev/zvol/"+place1+"/bulk" {
				name := "export-" + path.Base(t.Name())
				req := depot.exportOf(idOfWeb1, "s3", name, "qcow2")
				req.DiskId = strconv.FormatInt(d.ID, 10)
				_, err := p.client.ExportDisk(t.Context(), req)
				p.must(err)
				if content := depot.get(t, "s3", name); !bytes.Contains(content, []byte("bulk")) {
					t.Errorf("exported %d bytes without the data", len(content))
				}
			}
		}
		if after := dropTree(p.nas.State()); !reflect.DeepEqual(before, after) {
			t.Errorf("leftovers:\n%s", changes(t, before, after))
		}
	}, loopbackImages)
}

// The VMs of two namespaces have equal names, and separate datasets on both pools.
func TestNamespacesOnSeveralPools(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		bare := dropTree(p.nas.State())
		var ids []string
		for _, namespace := range []string{"red", "blue", "red", "blue"} {
			req := onTwoPools(twoPools)
			req.Owner = &providerv1.ObjectIdentity{Uid: "uid-" + namespace, Namespace: namespace, Name: "web-1"}
			made, err := p.client.Create(t.Context(), req)
			p.must(err)
			ids = append(ids, made.GetId())
		}
		if got := below(p.nas.State(), "rust/virtrigaud/vms/"); !slices.Equal(got, []string{"rust/virtrigaud/vms/blueZZweb_1", "rust/virtrigaud/vms/blueZZweb_1/bulk", "rust/virtrigaud/vms/redZZweb_1", "rust/virtrigaud/vms/redZZweb_1/bulk"}) {
			t.Errorf("on the pool rust: %v", got)
		}
		p.must(deleteVM(ids[0])(t.Context(), p.client))
		if got := below(p.nas.State(), "rust/virtrigaud/vms/"); !slices.Equal(got, []string{"rust/virtrigaud/vms/blueZZweb_1", "rust/virtrigaud/vms/blueZZweb_1/bulk"}) {
			t.Errorf("after Delete: %v", got)
		}
		p.must(deleteVM(ids[1])(t.Context(), p.client))
		if got := dropTree(p.nas.State()); !reflect.DeepEqual(bare, got) {
			t.Errorf("leftovers:\n%s", changes(t, bare, got))
		}
	})
}

// A Create that the NAS refuses leaves no object on any pool, for each call that is refused.
func TestRefusedCreateLeavesNothingOnAnyPool(t *testing.T) {
	t.Parallel()
	for nth := 1; nth <= 9; nth++ {
		t.Run(strconv.Itoa(nth), func(t *testing.T) {
			everyRelease(t, func(t *testing.T, p pooled) {
				bare := dropTree(p.nas.State())
				p.nas.Inject(sim.Fault{Method: "pool.dataset.create", Nth: nth, Then: sim.Refuse, Err: &sim.CallError{Errno: 22, Reason: "[EINVAL] It is not valid"}})
				err := p.create(twoPools)
				p.nas.ClearFaults()
				if err == nil {
					return // It makes fewer datasets.
				}
				if got := dropTree(p.nas.State()); !reflect.DeepEqual(bare, got) {
					t.Errorf("%v\nleft:\n%s", err, changes(t, bare, got))
				}
			})
		})
	}
}

// A detached root disk, as after an interrupted Create, is attached again.
func TestRootDiskIsAttachedBesideAnotherPool(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(p.create(twoPools))
		made := p.nas.State()
		p.detach(home1 + "/root")
		p.detach(home1 + "/data")
		p.unchanged(func() error { return p.reconfigure(twoPools) }, "FailedPrecondition", "lacks its root disk in "+home1)
		p.must(p.create(twoPools))
		if again := settled(p.nas.State()); !reflect.DeepEqual(settled(made), again) {
			t.Errorf("the VM differs from its first state:\n%s", changes(t, settled(made), again))
		}
	})
}

// An interrupted revert can be repeated: no disk on another pool is added meanwhile.
func TestNoSecondPoolDuringARevert(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(p.create(sameDisks))
		p.must(snapshotWeb1(t.Context(), p.client))
		p.must(errors.Join(p.nas.AddSnapshot(home1+"/root@hourly"), p.nas.AddSnapshot(home1+"/data@hourly")))
		p.nas.Inject(sim.Fault{Method: cloneMethod(p.api), Nth: 2, Then: sim.Refuse, Err: &sim.CallError{Errno: 22, Reason: "[EINVAL] It is not valid"}})
		if err := revertWeb1(t.Context(), p.client); err == nil {
			t.Fatal("the revert was not interrupted")
		}
		p.nas.ClearFaults() // The disk is set aside, and not made again yet.
		p.unchanged(func() error { return p.reconfigure(twoPools) }, "FailedPrecondition", "repeat the SnapshotRevert that was interrupted")
		p.must(revertWeb1(t.Context(), p.client))
		p.must(p.reconfigure(twoPools))
	})
}

// cloneMethod returns the release's method to clone a snapshot.
func cloneMethod(api *truenas.Client) string {
	if api.Release().AtLeast(truenas.R25_10) {
		return "pool.snapshot.clone"
	}
	return "zfs.snapshot.clone"
}

// detach takes a disk from the VM, and leaves its volume.
func (p pooled) detach(volume string) {
	p.t.Helper()
	vm, err := p.api.VMs.ByName(p.t.Context(), "web_1")
	p.must(err)
	for _, d := range vm.Devices {
		if d.Attributes.Path == "/dev/zvol/"+volume {
			p.must(p.api.Devices.Delete(p.t.Context(), d.ID, truenas.DeviceDelete{}))
		}
	}
}

// An object that was not made for the VM's disks is neither used nor changed.
func TestDatasetsOfOthersOnAnotherPool(t *testing.T) {
	t.Parallel()
	own := map[string]string{"virtrigaud:provider": "test", "virtrigaud:name": "web-1", "virtrigaud:machine": idOfWeb1, "virtrigaud:dataset": place1, "virtrigaud:home": home1}
	but := func(key, value string) map[string]string {
		props := maps.Clone(own)
		props[key] = value
		return props
	}
	for name, props := range map[string]map[string]string{
		"without marks": nil, "of another provider": but("virtrigaud:provider", "other"), "of another VM": but("virtrigaud:name", "web-2"), "of another owner": but("virtrigaud:owner", "o"),
		"of another id": but("virtrigaud:machine", idOfWeb2), "of another home": but("virtrigaud:home", "flash/virtrigaud/vms/web_1"), "a home": but("virtrigaud:home", ""), "a replica": but("virtrigaud:dataset", home1),
	} {
		t.Run(name, func(t *testing.T) {
			everyRelease(t, func(t *testing.T, p pooled) {
				p.must(errors.Join(p.nas.AddDataset("rust/virtrigaud", nil), p.nas.AddDataset("rust/virtrigaud/vms", nil), p.nas.AddDataset(place1, props), p.nas.AddVolume(place1+"/bulk", 7<<30, nil)))
				write(t, p.nas, place1+"/bulk", "theirs")
				p.unchanged(func() error { return p.create(twoPools) }, "AlreadyExists", "disks_json[1].StorageClass: dataset "+place1+" exists")
				p.must(p.create(sameDisks))
				p.unchanged(func() error { return p.reconfigure(twoPools) }, "AlreadyExists", "desired_json.Disks[1].StorageClass: dataset "+place1+" exists")
				if name == "a home" || name == "of another home" {
					return // Both carry the mark of the VM.
				}
				p.must(p.delete())
				if got := p.sizes(); !maps.Equal(got, map[string]int64{place1 + "/bulk": 7}) || read(t, p.nas, place1+"/bulk", 6) != "theirs" {
					t.Errorf("after Delete: %v", got)
				}
			})
		})
	}
}

// Delete removes the VM's disks on another pool also when its record, its home or both are gone, and never without a reading of
// that pool.
func TestDeleteKnowsOtherPools(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		bare := dropTree(p.nas.State())
		p.must(p.create(twoPools))
		var saved bytes.Buffer
		p.must(p.nas.Save(&saved))
		for _, tt := range []struct {
			name    string
			damage  func() error
			refused string
			repair  func() error
		}{
			{"the record is gone", func() error { return p.forget() }, "", nil},
			{"the home is gone", func() error { return p.nas.RemoveDataset(home1) }, "", nil},
			{"the other dataset is gone", func() error { return p.nas.RemoveDataset(place1) }, "", nil},
			{"record and home are gone", func() error { return errors.Join(p.forget(), p.nas.RemoveDataset(home1)) }, "", nil},
			{"the pool is away", func() error { return p.nas.RemoveDataset("rust") }, "which the NAS does not have at the moment", p.restore(saved.Bytes())},
			{"record and pool are away", func() error { return errors.Join(p.forget(), p.nas.RemoveDataset("rust")) }, `has disks on pool "rust", which the NAS does not have at the moment`, p.restore(saved.Bytes())},
			{"the pool of the home is away", func() error { return p.nas.RemoveDataset("tank") }, `"tank"`, p.restore(saved.Bytes())},
			{"record and pool of the home are away", func() error { return errors.Join(p.forget(), p.nas.RemoveDataset("tank")) }, `has disks on pool "tank", which the NAS does not have at the moment`, p.restore(saved.Bytes())},
			{"record and marks of the home are gone", func() error { return errors.Join(p.forget(), p.unmark(home1)) }, "does not carry the VM's user properties", p.restore(saved.Bytes())},
			{"the marks are gone", func() error { return p.unmark(place1) }, "does not carry the VM's user properties", p.restore(saved.Bytes())},
			{"record and marks are gone", func() error { return errors.Join(p.forget(), p.unmark(place1)) }, "does not carry the VM's user properties", p.restore(saved.Bytes())},
			{"a file system of another client", func() error { return p.nas.AddDataset(place1+"/mine", nil) }, "was not made by this provider", func() error { return p.nas.RemoveDataset(place1 + "/mine") }},
			{"a clone of another client", func() error {
				return errors.Join(p.nas.AddSnapshot(place1+"/bulk@mine"), p.nas.AddClone(place1+"/bulk@mine", "rust/mine"))
			}, "is a clone", func() error { return p.nas.RemoveDataset("rust/mine") }},
			{"a user", func() error { return p.nas.AddVM("user", 1, 512, place1+"/bulk") }, "uses a disk or file in " + place1, func() error { return p.nas.RemoveVM("user") }},
		} {
			t.Run(tt.name, func(t *testing.T) {
				p := p
				p.t = t
				p.must(p.nas.Load(bytes.NewReader(saved.Bytes())))
				p.client, p.provider = serve(t, p.api, brief) // with an empty cache
				p.must(tt.damage())
				if tt.refused != "" {
					p.unchanged(p.delete, "FailedPrecondition", tt.refused)
					p.must(tt.repair())
				}
				p.must(p.delete())
				p.must(p.delete())
				if got := dropTree(p.nas.State()); !reflect.DeepEqual(bare, got) {
					t.Errorf("Delete left:\n%s", changes(t, bare, got))
				}
			})
		}
	})
}

// The home of a VM records its pools, so Delete removes it last.
func TestHomeGoesAfterOtherPools(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(p.create(twoPools))
		looked := false
		p.nas.OnCall(func(int, string) {
			home, place := p.user(home1) != nil, p.user(place1) != nil
			if place && !home {
				t.Error("the home was removed first")
			}
			looked = looked || home && !place
		})
		p.must(p.delete())
		p.nas.OnCall(nil)
		if !looked {
			t.Error("no call was made between the two")
		}
	})
}

func (p pooled) restore(saved []byte) func() error {
	return func() error { return p.nas.Load(bytes.NewReader(saved)) }
}

// forget removes the VM's record and leaves its disks.
func (p pooled) forget() error {
	vm, err := p.api.VMs.ByName(p.t.Context(), "web_1")
	if err != nil {
		return err
	}
	return p.api.VMs.Delete(p.t.Context(), vm.ID, truenas.DeleteOptions{})
}

// unmark removes the VM's id from a dataset.
func (p pooled) unmark(dataset string) error {
	_, err := p.api.Datasets.Update(p.t.Context(), dataset, truenas.DatasetUpdate{SetUserProperties: map[string]string{"virtrigaud:machine": "x"}})
	return err
}

// A dataset on another pool is a leftover only without its VM.
func TestDoctorKnowsOtherPools(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		bare := dropTree(p.nas.State())
		p.must(p.create(twoPools))
		w := doctorTest{t, p.client, p.provider, p.api, p.nas}
		w.finds(p.provider, 0, 0)
		var saved bytes.Buffer
		p.must(p.nas.Save(&saved))

		p.must(p.forget())
		for i, l := range w.finds(p.provider, 0, 2) {
			if l.Where != []string{place1, home1}[i] || l.Kind != "disks without VM" || l.Keep != "" {
				t.Errorf("found %+v", l)
			}
		}
		w.removeLeftovers(p.provider, 0, 1) // The first leftover includes the other dataset.
		if got := dropTree(p.nas.State()); !reflect.DeepEqual(bare, got) {
			t.Errorf("leftovers:\n%s", changes(t, bare, got))
		}

		p.must(p.nas.Load(bytes.NewReader(saved.Bytes())))
		p.must(errors.Join(p.forget(), p.nas.RemoveDataset(home1)))
		if found := w.finds(p.provider, 0, 1); found[0].Where != place1 || found[0].Keep != "" {
			t.Errorf("found %+v", found)
		}
		w.removeLeftovers(p.provider, 0, 1)

		p.must(p.nas.Load(bytes.NewReader(saved.Bytes())))
		written := make([]byte, 2<<20)
		for i := range written {
			written[i] = byte(i)
		}
		_, err := p.nas.WriteVolume(place1+"/bulk", written, 0)
		p.must(err)
		p.must(p.forget())
		ill := p.nas.State()
		for _, l := range w.finds(p.provider, 0, 2) {
			if !strings.Contains(l.Keep, place1+"/bulk contains data") {
				t.Errorf("found %+v", l)
			}
		}
		w.removeLeftovers(p.provider, 0, 0)
		if got := p.nas.State(); !reflect.DeepEqual(ill, got) {
			t.Errorf("a kept object changed:\n%s", changes(t, ill, got))
		}

		for _, volume := range []string{home1 + "/data", place1 + "/bulk"} {
			p.must(p.nas.Load(bytes.NewReader(saved.Bytes())))
			p.must(errors.Join(p.forget(), p.nas.AddVM("user", 1, 512, volume)))
			for _, l := range w.finds(p.provider, 0, 2) {
				if l.Keep != "VM user uses it" {
					t.Errorf("found %+v", l)
				}
			}
		}

		p.must(p.nas.Load(bytes.NewReader(saved.Bytes())))
		p.detach(place1 + "/bulk")
		if found := w.finds(p.provider, 0, 1); found[0].Kind != "loose disk" || found[0].Where != place1+"/bulk" {
			t.Errorf("found %+v", found)
		}
	})
}

func TestPoolsOfDisksAreRefused(t *testing.T) {
	t.Parallel()
	disk := func(more string) string { return `[{"Name":"bulk","SizeGiB":7,` + more + `}]` }
	for _, tt := range []struct {
		name, disks, code, text string
		spoil                   func(*sim.Sim) error
	}{
		{"a pool that is not there", disk(`"StorageClass":"nope"`), "InvalidArgument", `"nope" is not one of the pools of the setting storage.allowed_pools, which has ["tank" "rust"]`, nil},
		{"a pool that is not allowed", disk(`"StorageClass":"flash"`), "InvalidArgument", `"flash" is not one of the pools`, nil},
		{"a pool that is away", disk(`"StorageClass":"rust"`), "FailedPrecondition", `the NAS has no pool "rust"`, func(nas *sim.Sim) error { return nas.RemoveDataset("rust") }},
		{"a pool that is locked", disk(`"StorageClass":"rust"`), "FailedPrecondition", "dataset rust/virtrigaud is encrypted and locked", func(nas *sim.Sim) error {
			return errors.Join(nas.AddDataset("rust/virtrigaud", nil), nas.Encrypt("rust/virtrigaud", true), nas.SetLocked("rust/virtrigaud", true))
		}},
		{"a disk that is too large", `[{"Name":"bulk","SizeGiB":5000,"StorageClass":"rust"}]`, "ResourceExhausted", `pool "rust"`, nil},
		{"a thick disk that is too large", `[{"Name":"a","SizeGiB":3000,"StorageClass":"rust","Type":"thick"},{"Name":"b","SizeGiB":3000,"StorageClass":"rust","Type":"thick"}]`, "ResourceExhausted", `pool "rust"`, nil},
		{"the tree of another installation", disk(`"StorageClass":"rust"`), "FailedPrecondition", "dataset rust/virtrigaud belongs to another installation", func(nas *sim.Sim) error {
			return nas.AddDataset("rust/virtrigaud", map[string]string{claimOfTest: "cluster=there&dataset=rust%2Fvirtrigaud&id=elsewhere&owner=other%2Fowner&provider=test"})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everyRelease(t, func(t *testing.T, p pooled) {
				if tt.spoil != nil {
					p.must(tt.spoil(p.nas))
				}
				p.unchanged(func() error { return p.create(tt.disks) }, tt.code, tt.text)
				p.must(p.create(`[]`))
				p.unchanged(func() error { return p.reconfigure(tt.disks) }, tt.code, tt.text)
			}, func(c *server.Config) {
				c.AllowedPools = []string{"tank", "rust"}
				c.Installation = server.Installation{ID: "here"}
				c.ChoosePool = `name == "tank"`
			})
		})
	}
}

// A disk stays usable when the setting changes, and a VM that names no pool is found although it has disks on two.
func TestPoolOfADiskIsChosenOnce(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(p.create(twoPools))
		p.client, _ = serve(t, p.api, func(c *server.Config) { c.AllowedPools = []string{"flash"} })
		req := onTwoPools(twoPools)
		req.ImageJson = ""
		_, err := p.client.Create(t.Context(), req)
		refusedWith(t, err, "FailedPrecondition", "was made from") // It is the same VM.
		p.must(p.create(twoPools))
		p.must(p.reconfigure(strings.Replace(twoPools, "7", "8", 1)))
		p.must(p.delete())
	}, func(c *server.Config) { c.AllowedPools = []string{"tank", "rust"} })
}

func TestEncryptionOnSeveralPools(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(errors.Join(p.nas.AddDataset("tank/virtrigaud", nil), p.nas.Encrypt("tank/virtrigaud", false)))
		secret := func(disks string) *providerv1.CreateRequest {
			req := onTwoPools(disks)
			req.ImageJson, req.ClassJson = "", strings.TrimSuffix(req.ClassJson, "}")+`,"SecurityProfile":{"EncryptionEnabled":true}}`
			return req
		}
		create := func() error { _, err := p.client.Create(t.Context(), secret(twoPools)); return err }
		p.unchanged(create, "FailedPrecondition", "class_json.SecurityProfile.EncryptionEnabled: dataset rust is not encrypted")
		_, err := p.client.Create(t.Context(), secret(sameDisks))
		p.must(err)
		want := strings.Replace(desired(2, 2048, 20, twoPools), `"DiskDefaults"`, `"SecurityProfile":{"EncryptionEnabled":true},"DiskDefaults"`, 1)
		change := func() error {
			_, err := p.client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: want})
			return err
		}
		p.unchanged(change, "FailedPrecondition", "dataset rust is not encrypted")
		p.must(errors.Join(p.nas.AddDataset("rust/virtrigaud", nil), p.nas.Encrypt("rust/virtrigaud", false)))
		p.must(change())
		p.must(create())
		p.must(p.delete())
		p.must(create())
	})
}

// An imported root disk does not distinguish the VM's own dataset from those on other pools.
func TestNoSecondPoolBesideAnImportedDisk(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(errors.Join(p.nas.AddDataset("tank/virtrigaud", nil), p.nas.AddDataset("tank/virtrigaud/imports", nil), p.nas.AddDataset("tank/virtrigaud/imports/web_1", map[string]string{"virtrigaud:provider": "test"}), p.nas.AddVolume("tank/virtrigaud/imports/web_1/disk", 20<<30, nil)))
		req := onTwoPools(twoPools)
		req.ImageJson, req.ClassJson = `{"Path":"tank/virtrigaud/imports/web_1/disk"}`, `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"}`
		p.unchanged(func() error { _, err := p.client.Create(t.Context(), req); return err }, "FailedPrecondition", "disks_json[1].StorageClass: the root disk of the VM is an imported one")
		req.DisksJson = sameDisks
		_, err := p.client.Create(t.Context(), req)
		p.must(err)
		p.unchanged(func() error { return p.reconfigure(twoPools) }, "FailedPrecondition", "desired_json.Disks[1].StorageClass: the root disk of the VM is an imported one")
		// The name of the VM's own pool means its own dataset.
		p.must(p.reconfigure(strings.Replace(sameDisks, "}", `,"StorageClass":"tank"}`, 1)))
	})
}

// A running VM gets no disk, on any pool.
func TestNoDiskOnAnotherPoolWhileRunning(t *testing.T) {
	t.Parallel()
	everyRelease(t, func(t *testing.T, p pooled) {
		p.must(p.create(sameDisks))
		p.must(turnOn(t.Context(), p.client))
		p.unchanged(func() error { return p.create(twoPools) }, "FailedPrecondition", "runs without its disk "+place1+"/bulk")
		p.unchanged(func() error { return p.reconfigure(twoPools) }, "FailedPrecondition", "the list of disks can change only while VM")
	})
}

// poolOperations returns the operations of a VM with disks on several pools.
func poolOperations() []operation {
	list := []operation{
		{name: "Create on two pools", rpcs: []string{"Create"}, prepare: withTemplate, run: createOnPools},
		{name: "Create on two pools that is given up", rpcs: []string{"Create", "Delete"}, prepare: withTemplate, run: createThenDelete(createOnPools, idOfWeb1)},
		{name: "Reconfigure that adds disks on other pools", rpcs: []string{"Reconfigure"}, prepare: setting(withTemplate).after(createOnPools), run: func(ctx context.Context, client providerv1.ProviderClient) error {
			_, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: desired(2, 2048, 20, morePools)})
			return err
		}},
		{name: "Delete on two pools", rpcs: []string{"Delete"}, prepare: setting(withTemplate).after(createOnPools, turnOn), run: deleteVM(idOfWeb1)},
		{name: "Delete on two pools without the VM's record", rpcs: []string{"Delete"}, run: deleteVM(idOfWeb1), prepare: func(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
			setting(withTemplate).after(createOnPools)(t, client, nas)
			if err := errors.Join(nas.RemoveVM("web_1"), nas.AddVolume(home1+"/root", 20<<30, nil), nas.AddVolume(place1+"/bulk", 7<<30, nil)); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for i := range list {
		list[i].config = poolsOf
	}
	return list
}
