package server_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// family makes and deletes VMs, and ends the test after a failure.
type family struct {
	t      testing.TB
	client providerv1.ProviderClient
	nas    *sim.Sim
	ids    map[string]string
}

func newFamily(t testing.TB, client providerv1.ProviderClient, nas *sim.Sim) *family {
	addImage(t, nas)
	return &family{t, client, nas, map[string]string{}}
}

func (f *family) create(name string) {
	f.t.Helper()
	req := wanted(name)
	req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
	resp, err := f.client.Create(f.t.Context(), req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.ids[name] = resp.GetId()
}

func (f *family) clone(of, name string, linked bool) {
	f.t.Helper()
	resp, err := f.client.Clone(f.t.Context(), &providerv1.CloneRequest{SourceVmId: f.ids[of], TargetName: name, Linked: linked})
	if err != nil {
		f.t.Fatalf("clone of %s as %s: %v", of, name, err)
	}
	f.ids[name] = resp.GetTargetVmId()
}

func (f *family) remove(name string) {
	f.t.Helper()
	if _, err := f.client.Delete(f.t.Context(), &providerv1.DeleteRequest{Id: f.ids[name]}); err != nil {
		f.t.Fatalf("delete %s: %v", name, err)
	}
}

func (f *family) snapshot(name, snapshot string) {
	f.t.Helper()
	if _, err := f.client.SnapshotCreate(f.t.Context(), &providerv1.SnapshotCreateRequest{VmId: f.ids[name], NameHint: snapshot}); err != nil {
		f.t.Fatalf("snapshot of %s: %v", name, err)
	}
}

func (f *family) holds(name, text string) {
	f.t.Helper()
	if got := read(f.t, f.nas, "tank/virtrigaud/vms/"+name+"/root", len(text)); got != text {
		f.t.Errorf("the disk of %s holds %q, not %q", name, got, text)
	}
}

func (f *family) writes(name, text string) {
	write(f.t, f.nas, "tank/virtrigaud/vms/"+name+"/root", text)
}

// snapshots lists the snapshots of the VMs.
func (f *family) snapshots() []string {
	var ids []string
	for _, s := range f.nas.State().Snapshots {
		if strings.HasPrefix(s.ID, "tank/virtrigaud/vms/") {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func (f *family) hasSnapshots(want ...string) {
	f.t.Helper()
	if got := f.snapshots(); !slices.Equal(got, want) {
		f.t.Errorf("snapshots %v, want %v", got, want)
	}
}

// TestCloneReusesAName: leftovers of an earlier clone with the same name must neither block a new one nor count as new.
func TestCloneReusesAName(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			f := newFamily(t, client, nas)
			f.create("a")
			f.writes("a", "old")
			f.clone("a", "b", true)
			f.remove("b")
			f.hasSnapshots()
			f.clone("a", "b", true)
			f.clone("b", "c", true)
			f.remove("b") // c depends on the snapshot of a that was taken for b.
			f.writes("a", "new")
			f.clone("a", "b", true)
			f.holds("b", "new")
			f.holds("c", "old")
			f.clone("a", "d", false)
			f.holds("d", "new")
			f.remove("d")
			for _, name := range []string{"a", "c", "b"} {
				f.remove(name)
			}
			f.hasSnapshots()
		})
	}
}

// TestCloneInheritsNoSnapshots: the snapshots of a source are deleted with it, and their names are free for its clones.
func TestCloneInheritsNoSnapshots(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			f := newFamily(t, client, nas)
			f.create("a")
			f.snapshot("a", "s1")
			f.clone("a", "b", true)
			f.snapshot("a", "s2")
			f.remove("a")
			f.hasSnapshots()
			f.snapshot("b", "s1")
			f.hasSnapshots("tank/virtrigaud/vms/b/data@s1", "tank/virtrigaud/vms/b/root@s1", "tank/virtrigaud/vms/b@s1")
		})
	}
}

// TestTwoReplicasDeleteASource: promoting a clone twice would move the image's snapshot away from the image.
func TestTwoReplicasDeleteASource(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			clients := []providerv1.ProviderClient{replica(t, address, "replica-1"), replica(t, address, "replica-2")}
			f := newFamily(t, clients[0], nas)
			f.create("a")
			before := nas.State()
			for range 3 {
				f.create("b")
				f.clone("b", "c", true)
				var both sync.WaitGroup
				for _, client := range clients {
					both.Go(func() { _, _ = client.Delete(t.Context(), &providerv1.DeleteRequest{Id: f.ids["b"]}) }) // One may fail because the other holds the lock.
				}
				both.Wait()
				f.remove("b")
				f.remove("c")
				if after := nas.State(); !sameButTree(before, after) {
					t.Fatalf("leftovers:\n%s", changes(t, before, after))
				}
			}
		})
	}
}

// TestCloneOfAVMOfAnotherReplica: TrueNAS sends no event for a change of a VM's devices, so the cached list lacks them.
func TestCloneOfAVMOfAnotherReplica(t *testing.T) {
	t.Parallel()
	nas, address := truenastest.Serve(t)
	first, second := replica(t, address, "replica-1"), replica(t, address, "replica-2")
	f := newFamily(t, first, nas)
	var once sync.Once
	nas.OnCall(func(_ int, method string) {
		if method == "vm.device.create" { // The VM exists and has no devices yet.
			once.Do(func() { _, _ = second.ListVMs(t.Context(), &providerv1.ListVMsRequest{}) })
		}
	})
	f.create("a")
	nas.OnCall(nil)
	f.client = second
	f.clone("a", "b", true)
	if got := below(nas.State(), "tank/virtrigaud/vms/b/"); !slices.Equal(got, []string{"tank/virtrigaud/vms/b/data", "tank/virtrigaud/vms/b/root"}) {
		t.Errorf("the clone has %v", got)
	}
}

// TestProvidersShareAnImage: a provider uses an image that another provider landed below the same dataset.
func TestProvidersShareAnImage(t *testing.T) {
	t.Parallel()
	_, address := truenastest.Serve(t)
	web, _ := serveImage(t)
	for _, id := range []string{"east", "west"} {
		client, stop := startProvider(t, address, func(c *server.Config) { c.ID = id })
		t.Cleanup(stop)
		resp, err := prepare(t, client, web.job(web.checksum()))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		finish(t, client, resp.GetTask())
		req := wanted("vm-" + id)
		req.ImageJson = `{"Path":"` + resp.GetPreparedImagePath() + `"}`
		if made, err := client.Create(t.Context(), req); err != nil || made.GetTask() != nil {
			t.Errorf("%s: %v, %v", id, made, err)
		}
	}
	if n := web.fetched.Load(); n != 1 {
		t.Errorf("the image was fetched %d times", n)
	}
}
