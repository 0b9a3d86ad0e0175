package server_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/intime"
)

// lateClock is the clock of a NAS that is a day late, so that new objects are a day old.
type lateClock struct{}

func (lateClock) Now() time.Time { return time.Now().Add(-24 * time.Hour) }

func (lateClock) AfterFunc(d time.Duration, fn func()) func() bool { return time.AfterFunc(d, fn).Stop }

// doctorTest is a NAS without leftovers: VMs, a linked clone, an image, an import in use, snapshots, and objects of others.
type doctorTest struct {
	t        *testing.T
	client   providerv1.ProviderClient
	provider *server.Server
	api      *truenas.Client
	nas      *sim.Sim
}

func newDoctorTest(t *testing.T, release string) doctorTest {
	api, nas := truenastest.New(t, func(c *sim.Config) { c.Release, c.Clock = release, lateClock{} })
	client, provider := serve(t, api, loopbackImages, func(c *server.Config) { c.LeaseFor = time.Millisecond })
	w := doctorTest{t, client, provider, api, nas}
	addImage(t, nas)
	web := newVM(t, client, "web-1")
	w.dataset("tank/virtrigaud/imports/moved", nil)
	w.volume("tank/virtrigaud/imports/moved/disk", map[string]string{"virtrigaud:state": "ready"})
	req := wanted("web-3")
	req.ClassJson, req.ImageJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"}`, `{"Path":"tank/virtrigaud/imports/moved/disk"}`
	_, err := client.Create(t.Context(), req)
	w.must(err)
	_, err = client.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: web, TargetName: "web-2", Linked: true})
	w.must(err)
	_, err = client.SnapshotCreate(t.Context(), &providerv1.SnapshotCreateRequest{VmId: web, NameHint: "s1"})
	w.must(err)
	image, _ := serveImage(t)
	resp, err := prepare(t, client, image.job(image.checksum()))
	w.must(err)
	finish(t, client, resp.GetTask())
	// The provider ignores objects without a mark, in any dataset.
	w.must(nas.AddDataset("tank/virtrigaud/vms/by_hand", nil))
	w.must(nas.AddVolume("tank/virtrigaud/vms/by_hand/root", 1<<30, nil))
	w.must(nas.AddDataset("tank/virtrigaud/staging/by_hand", nil))
	w.must(nas.AddVM("by_hand", 1, 512))
	return w
}

func (w doctorTest) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w doctorTest) dataset(name string, props map[string]string) {
	w.t.Helper()
	all := map[string]string{"virtrigaud:provider": "test"}
	for key, value := range props {
		all[key] = value
	}
	_, err := w.api.Datasets.Create(w.t.Context(), truenas.DatasetCreate{Name: name, CreateAncestors: true, UserProperties: all})
	w.must(err)
}

func (w doctorTest) volume(name string, props map[string]string) {
	w.t.Helper()
	_, err := w.api.Datasets.Create(w.t.Context(), truenas.DatasetCreate{Name: name, Type: truenas.Volume, VolsizeBytes: 1 << 30, Sparse: true, UserProperties: props})
	w.must(err)
}

func (w doctorTest) snapshot(dataset, name string) {
	w.t.Helper()
	_, err := w.api.Snapshots.Create(w.t.Context(), truenas.SnapshotCreate{Dataset: dataset, Name: name, Recursive: true, UserProperties: map[string]string{"virtrigaud:provider": "test"}})
	w.must(err)
}

// machine makes a VM and returns its record.
func (w doctorTest) machine() truenas.VM {
	w.t.Helper()
	newVM(w.t, w.client, "web-9")
	vm, err := w.api.VMs.ByName(w.t.Context(), "web_9")
	w.must(err)
	return vm
}

func (w doctorTest) detach(volumes ...string) {
	w.t.Helper()
	vm := w.machine()
	for _, d := range vm.Devices {
		for _, volume := range volumes {
			if d.Attributes.Path == "/dev/zvol/"+volume {
				w.must(w.api.Devices.Delete(w.t.Context(), d.ID, truenas.DeviceDelete{}))
			}
		}
	}
}

// stagedAt returns the properties of a worker with its last heartbeat at that time.
func stagedAt(seen time.Time) map[string]string {
	return map[string]string{"virtrigaud:worker": "gone", "virtrigaud:beat": strconv.FormatInt(seen.UnixMilli(), 10)}
}

const (
	home9 = "tank/virtrigaud/vms/web_9"
	root1 = "tank/virtrigaud/vms/web_1/root"
)

// leftoverKinds returns all kinds of leftovers. The test removes the kinds with a reason to stay.
func leftoverKinds() []struct {
	name, kind, where, stays string
	make                     func(doctorTest)
} {
	old := stagedAt(time.Now().Add(-time.Hour))
	data := make([]byte, 2<<20)
	for i := range data {
		data[i] = byte(i)
	}
	return []struct {
		name, kind, where, stays string
		make                     func(doctorTest)
	}{
		{"a Delete that was interrupted", "disks without VM", home9, "", func(w doctorTest) {
			w.must(w.api.VMs.Delete(w.t.Context(), w.machine().ID, truenas.DeleteOptions{}))
		}},
		{"disks that a user removed", "VM without disks", "web_9", "", func(w doctorTest) {
			w.machine()
			w.must(w.nas.RemoveDataset(home9))
		}},
		{"a Create that was interrupted", "half-made VM", "web_9", "", func(w doctorTest) { w.detach(home9+"/root", home9+"/data") }},
		{"a VM whose only disk was detached with its data", "half-made VM", "web_9", "contains data", func(w doctorTest) {
			w.detach(home9+"/root", home9+"/data")
			_, err := w.nas.WriteVolume(home9+"/root", data, 0)
			w.must(err)
		}},
		{"a disk that was not attached", "loose disk", home9 + "/data", "", func(w doctorTest) { w.detach(home9 + "/data") }},
		{"a disk that was detached with its data", "loose disk", home9 + "/data", "contains data", func(w doctorTest) {
			w.detach(home9 + "/data")
			_, err := w.nas.WriteVolume(home9+"/data", data, 0)
			w.must(err)
		}},
		{"the staging of an image", "staged image", "tank/virtrigaud/staging/key", "", func(w doctorTest) { w.dataset("tank/virtrigaud/staging/key", old) }},
		{"the staging of an import", "staged import", "tank/virtrigaud/staging/import-web_9", "", func(w doctorTest) { w.dataset("tank/virtrigaud/staging/import-web_9", old) }},
		{"an export that was interrupted", "interrupted export", "tank/virtrigaud/staging/export-1", "", func(w doctorTest) {
			w.snapshot(root1, "vrexport-1")
			w.dataset("tank/virtrigaud/staging/export-1", map[string]string{"virtrigaud:beat": old["virtrigaud:beat"], "virtrigaud:snapshot": root1 + "@vrexport-1"})
			w.must(w.api.Snapshots.Clone(w.t.Context(), root1+"@vrexport-1", "tank/virtrigaud/staging/export-1/disk", nil))
		}},
		{"an image that landed half", "half-landed image", "tank/virtrigaud/images/key", "", func(w doctorTest) {
			w.dataset("tank/virtrigaud/images/key", nil)
			w.volume("tank/virtrigaud/images/key/disk", nil)
		}},
		{"an image with data whose snapshot was deleted by hand", "half-landed image", "tank/virtrigaud/images/key", "contains data", func(w doctorTest) {
			w.dataset("tank/virtrigaud/images/key", nil)
			w.volume("tank/virtrigaud/images/key/disk", nil)
			_, err := w.nas.WriteVolume("tank/virtrigaud/images/key/disk", data, 0)
			w.must(err)
		}},
		{"a VM whose record was deleted by hand, with its data", "disks without VM", home9, "contains data", func(w doctorTest) {
			vm := w.machine()
			_, err := w.nas.WriteVolume(home9+"/data", data, 0)
			w.must(err)
			w.must(w.api.VMs.Delete(w.t.Context(), vm.ID, truenas.DeleteOptions{}))
		}},
		{"an import that landed half", "half-landed import", "tank/virtrigaud/imports/web_9", "", func(w doctorTest) {
			w.dataset("tank/virtrigaud/imports/web_9", nil)
			w.volume("tank/virtrigaud/imports/web_9/disk", nil)
		}},
		{"a half-landed import that a VM uses", "half-landed import", "tank/virtrigaud/imports/web_9", "VM user uses it", func(w doctorTest) {
			w.dataset("tank/virtrigaud/imports/web_9", nil)
			w.volume("tank/virtrigaud/imports/web_9/disk", nil)
			w.must(w.nas.AddVM("user", 1, 512, "tank/virtrigaud/imports/web_9/disk"))
		}},
		{"a half-landed image with a clone of another client", "half-landed image", "tank/virtrigaud/images/key", "is a clone of it", func(w doctorTest) {
			w.dataset("tank/virtrigaud/images/key", nil)
			w.volume("tank/virtrigaud/images/key/disk", nil)
			w.must(w.nas.AddSnapshot("tank/virtrigaud/images/key/disk@mine"))
			w.must(w.api.Snapshots.Clone(w.t.Context(), "tank/virtrigaud/images/key/disk@mine", "tank/templates/mine", nil))
		}},
		{"an import that no VM has yet", "import without VM", "tank/virtrigaud/imports/web_9", "about to attach", func(w doctorTest) {
			w.dataset("tank/virtrigaud/imports/web_9", nil)
			w.volume("tank/virtrigaud/imports/web_9/disk", map[string]string{"virtrigaud:state": "ready"})
		}},
		{"an incomplete full clone, with the snapshot that it is made from", "incomplete full clone", "web_9", "resumes it", func(w doctorTest) {
			vm := w.machine()
			description := strings.Replace(vm.Description, "]", "&source="+idOfWeb1+"&host=web-9&pool=tank]", 1)
			_, err := w.api.VMs.Update(w.t.Context(), vm.ID, truenas.VMUpdate{Description: &description})
			w.must(err)
			_, err = w.api.Snapshots.Create(w.t.Context(), truenas.SnapshotCreate{Dataset: "tank/virtrigaud/vms/web_1", Name: "vrclone-full-web_9", Recursive: true,
				UserProperties: map[string]string{"virtrigaud:provider": "test", "virtrigaud:machine": vm.UUID}})
			w.must(err)
		}},
		{"the snapshots of a clone that was never made", "snapshot for a clone", "tank/virtrigaud/vms/web_1@vrclone-web_9", "", func(w doctorTest) {
			w.snapshot("tank/virtrigaud/vms/web_1", "vrclone-web_9")
		}},
		{"the snapshot of an export whose staging is gone", "snapshot for an export", "tank/virtrigaud/vms/web_1@vrexport-1", "", func(w doctorTest) {
			w.snapshot(root1, "vrexport-1")
		}},
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			w := newDoctorTest(t, release)
			_, other := serve(t, w.api, func(c *server.Config) { c.ID, c.LeaseFor = "other", time.Millisecond })
			var saved bytes.Buffer
			w.must(w.nas.Save(&saved))
			for _, tt := range leftoverKinds() {
				t.Run(tt.name, func(t *testing.T) {
					w := w
					w.t = t
					w.must(w.nas.Load(bytes.NewReader(saved.Bytes())))
					w.finds(w.provider, 0, 0)
					tt.make(w)
					ill := w.nas.State()
					w.finds(other, 0, 0)
					w.removeLeftovers(other, 0, 0)
					if tt.where != "web_9" || tt.kind == "half-made VM" { // TrueNAS does not report a record's age.
						w.finds(w.provider, 48*time.Hour, 0)
						w.removeLeftovers(w.provider, 48*time.Hour, 0)
					}
					found := w.finds(w.provider, 0, 1)[0]
					if found.Kind != tt.kind || found.Where != tt.where || (found.Keep == "") != (tt.stays == "") || !strings.Contains(found.Keep, tt.stays) {
						t.Errorf("found %+v", found)
					}
					if !reflect.DeepEqual(w.nas.State(), ill) {
						t.Errorf("the examination, or another provider, changed the NAS:\n%s", diff(t, ill, w.nas.State()))
					}
					if tt.stays != "" {
						w.removeLeftovers(w.provider, 0, 0)
						if !reflect.DeepEqual(w.nas.State(), ill) {
							t.Errorf("a kept object changed:\n%s", diff(t, ill, w.nas.State()))
						}
						return
					}
					w.removeLeftovers(w.provider, 0, 1)
					w.checkRestored(saved.Bytes())
				})
			}
		})
	}
}

// TestDoctorSparesInheritedMarks sets the provider's id on the root of its tree, above datasets that were made by hand.
func TestDoctorSparesInheritedMarks(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			w := newDoctorTest(t, release)
			_, err := w.api.Datasets.Update(t.Context(), "tank/virtrigaud", truenas.DatasetUpdate{SetUserProperties: map[string]string{"virtrigaud:provider": "test"}})
			w.must(err)
			for _, name := range []string{"imports/mine", "images/mine"} {
				w.must(w.nas.AddDataset("tank/virtrigaud/"+name, nil))
				w.must(w.nas.AddVolume("tank/virtrigaud/"+name+"/disk", 1<<30, nil))
			}
			before := w.nas.State()
			w.finds(w.provider, 0, 0)
			w.removeLeftovers(w.provider, 0, 0)
			_, err = w.client.ImportDisk(t.Context(), &providerv1.ImportDiskRequest{SourceUrl: "http://127.0.0.1:1/disk", Format: "qcow2", TargetName: "mine"})
			refusedWith(t, err, "AlreadyExists", "tank/virtrigaud/imports/mine exists and was not made by this provider")
			if after := w.nas.State(); !reflect.DeepEqual(before, after) {
				t.Errorf("the NAS has changed:\n%s", diff(t, before, after))
			}
		})
	}
}

// finds expects n leftovers.
func (w doctorTest) finds(s *server.Server, settled time.Duration, n int) []server.Leftover {
	w.t.Helper()
	found, err := s.Leftovers(w.t.Context(), settled)
	if err != nil || len(found) != n {
		w.t.Fatalf("found %+v, %v; want %d", found, err, n)
	}
	return found
}

// removeLeftovers removes leftovers, of which n are expected.
func (w doctorTest) removeLeftovers(s *server.Server, settled time.Duration, n int) {
	w.t.Helper()
	removed, err := s.RemoveLeftovers(w.t.Context(), settled)
	if err != nil || len(removed) != n {
		w.t.Errorf("removed %+v, %v; want %d", removed, err, n)
	}
}

// checkRestored compares the NAS with its earlier state, and checks that web-9 can be deleted.
func (w doctorTest) checkRestored(saved []byte) {
	w.t.Helper()
	w.finds(w.provider, 0, 0)
	if vm, err := w.api.VMs.ByName(w.t.Context(), "web_9"); err == nil {
		_, err = w.client.Delete(w.t.Context(), &providerv1.DeleteRequest{Id: vm.UUID})
		w.must(err)
	}
	got := w.nas.State()
	w.must(w.nas.Load(bytes.NewReader(saved)))
	if want := w.nas.State(); !reflect.DeepEqual(got, want) {
		w.t.Errorf("not as before:\n%s", diff(w.t, want, got))
	}
}

// doctorBeside removes leftovers during a Create that is delayed at a call for a part of a lease. It returns the removed leftovers
// as an error: a Create that lasts longer than a lease counts as interrupted.
func doctorBeside(t *testing.T, release, method string, lease time.Duration) error {
	api, nas := truenastest.New(t, truenastest.Release(release))
	client, provider := serve(t, api, func(c *server.Config) { c.LeaseFor = lease })
	addImage(t, nas)
	held := make(chan struct{})
	hold := sync.OnceFunc(func() { close(held) })
	nas.OnCall(func(_ int, called string) {
		if called == method {
			hold()
		}
	})
	nas.Inject(sim.Fault{Method: method, Then: sim.Delay, Delay: lease / 3})
	made := make(chan error, 1)
	go func() {
		req := wanted("web-1")
		req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
		_, err := client.Create(t.Context(), req)
		made <- err
	}()
	<-held
	removed, err := provider.RemoveLeftovers(t.Context(), 0)
	if failed := <-made; err != nil || failed != nil || len(removed) > 0 {
		return fmt.Errorf("removed %+v, %v; Create: %v", removed, err, failed)
	}
	return nil
}

func TestDoctorKeepsWorkInProgress(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{"pool.dataset.create", "vm.create", "vm.device.create"} {
				t.Run(method, func(t *testing.T) {
					intime.Try(t, time.Second, func(lease time.Duration) error { return doctorBeside(t, release, method, lease) })
				})
			}
		})
	}
	t.Run("a worker that gives signs of life", func(t *testing.T) {
		w := newDoctorTest(t, "25.10")
		_, provider := serve(t, w.api) // with the default lease
		w.dataset("tank/virtrigaud/staging/import-web_9", stagedAt(time.Now().Add(-30*time.Second)))
		w.dataset("tank/virtrigaud/imports/web_9", nil)
		w.finds(provider, 0, 0)
		w.removeLeftovers(provider, 0, 0)
	})
}
