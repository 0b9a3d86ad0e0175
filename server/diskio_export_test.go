package server_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// exporter makes a VM with known contents of its disk.
func exporter(t testing.TB, client providerv1.ProviderClient, nas *sim.Sim, disk []byte) (id string) {
	t.Helper()
	created, err := client.Create(background, &providerv1.CreateRequest{
		Name: "web-1", ClassJson: fmt.Sprintf(`{"CPU":1,"MemoryMiB":512,"Firmware":"BIOS","DiskDefaults":{"SizeGiB":%d}}`, max(1, len(disk)>>30)),
	})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, nas, disk)
	return created.GetId()
}

// byHand makes a VM as a user does on the NAS, with a disk of the size of its contents.
func byHand(t testing.TB, client providerv1.ProviderClient, nas *sim.Sim, disk []byte) (id string) {
	t.Helper()
	for _, step := range []func() error{
		func() error { return nas.AddVolume("tank/hand", int64(len(disk)), nil) },
		func() error { return nas.AddVM("hand", 1, 512, "tank/hand") },
		func() error { _, err := nas.WriteVolume("tank/hand", disk, 0); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	list, err := client.ListVMs(background, &providerv1.ListVMsRequest{})
	if err != nil || len(list.GetVms()) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	return list.GetVms()[0].GetId()
}

// fill writes the contents as a guest does, without zeros.
func fill(t testing.TB, nas *sim.Sim, disk []byte) {
	t.Helper()
	for at := 0; at < len(disk); at += 1 << 20 {
		piece := disk[at:min(at+1<<20, len(disk))]
		if _, err := nas.WriteVolume("tank/virtrigaud/vms/web_1/root", piece, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

// exportOf returns the manager's request to export a disk.
func (d *depot) exportOf(id, backend, name, format string) *providerv1.ExportDiskRequest {
	return &providerv1.ExportDiskRequest{
		VmId: id, DestinationUrl: d.url(backend, name), Format: format, Credentials: secrets(), BackendType: backend,
		TransferMode: "auto", StorageOptionsJson: d.options(backend),
	}
}

// unchanged checks that the NAS has not changed, except for the provider's empty folders.
func unchanged(t testing.TB, nas *sim.Sim, before sim.State) {
	t.Helper()
	if after := nas.State(); !sameTree(before, after) {
		t.Errorf("leftovers:\n%s", diff(t.(*testing.T), before, after))
	}
}

func TestExportAndImportKeepEveryBit(t *testing.T) {
	t.Parallel()
	disk := scattered(orFewer(t, 24, 6) << 20)
	depot := newDepot(t)
	for _, release := range releases {
		client, nas := onRelease(t, release, depot.reach)
		id := byHand(t, client, nas, disk)
		before := nas.State()
		for _, tt := range []struct {
			format   string
			compress bool
		}{{"qcow2", false}, {"qcow2", true}, {"vmdk", false}, {"vmdk", true}, {"raw", false}} {
			for _, backend := range []string{"s3", "pvc", "nfs"} {
				name := fmt.Sprintf("%s-%t", tt.format, tt.compress)
				t.Run(release+" "+name+" over "+backend, func(t *testing.T) {
					req := depot.exportOf(id, backend, "export.vmdk", tt.format)
					req.Compress = tt.compress
					out, err := client.ExportDisk(background, req)
					if err != nil {
						t.Fatal(err)
					}
					content := depot.get(t, backend, "export.vmdk")
					if out.GetChecksum() != sumOf(content) || out.GetEstimatedSizeBytes() != int64(len(content)) || out.GetExportId() == "" || out.GetTask() != nil {
						t.Errorf("got %v of %d bytes", out, len(content))
					}
					unchanged(t, nas, before)
					in, err := client.ImportDisk(background, depot.importOf(backend, "export.vmdk", tt.format, "back", content))
					if err != nil {
						t.Fatal(err)
					}
					holds(t, nas, in.GetPath(), disk)
					if err := nas.RemoveDataset("tank/virtrigaud/imports/back"); err != nil {
						t.Fatal(err)
					}
					depot.objects.DeleteObject("bucket", "vmmigrations/ns/export.vmdk") //nolint:errcheck // It frees space only.
				})
			}
		}
	}
}

func TestExportOfARunningVMAndOfASnapshot(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			depot := newDepot(t)
			client, nas := onRelease(t, release, depot.reach)
			then := scattered(8 << 20)
			now := append(bytes.Repeat([]byte("now"), 1<<20), then[3<<20:]...)
			id := exporter(t, client, nas, then)
			snap, err := client.SnapshotCreate(background, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "move"})
			if err != nil {
				t.Fatal(err)
			}
			fill(t, nas, now)
			if _, err := client.Power(background, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
				t.Fatal(err)
			}
			before := nas.State()
			for snapshot, want := range map[string][]byte{snap.GetSnapshotId(): then, "": now} {
				req := depot.exportOf(id, "pvc", "export.qcow2", "qcow2")
				req.SnapshotId = snapshot
				if _, err := client.ExportDisk(background, req); err != nil {
					t.Fatal(err)
				}
				unchanged(t, nas, before)
				in, err := client.ImportDisk(background, depot.importOf("pvc", "export.qcow2", "qcow2", "back", depot.get(t, "pvc", "export.qcow2")))
				if err != nil {
					t.Fatal(err)
				}
				holds(t, nas, in.GetPath(), want)
				if err := nas.RemoveDataset("tank/virtrigaud/imports/back"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := client.SnapshotDelete(background, &providerv1.SnapshotDeleteRequest{VmId: id, SnapshotId: snap.GetSnapshotId()}); err != nil {
				t.Errorf("the snapshot is still in use: %v", err)
			}
		})
	}
}

func TestExportRefusals(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	client, nas := onRelease(t, "25.10", depot.reach)
	id := exporter(t, client, nas, scattered(1<<20))
	before := nas.State()
	for _, tt := range []struct {
		name, code, text string
		change           func(*providerv1.ExportDiskRequest)
	}{
		{"no such VM", "NotFound", "vm", func(r *providerv1.ExportDiskRequest) { r.VmId = "00000000-0000-4000-8000-000000000000" }},
		{"no such disk", "NotFound", "disk", func(r *providerv1.ExportDiskRequest) { r.DiskId = "other" }},
		{"no such snapshot", "NotFound", "snapshot", func(r *providerv1.ExportDiskRequest) { r.SnapshotId = "other" }},
		{"no id of a snapshot", "InvalidArgument", "snapshot_id", func(r *providerv1.ExportDiskRequest) { r.SnapshotId = "a/b@c" }},
		{"a format that is not written", "InvalidArgument", "format", func(r *providerv1.ExportDiskRequest) { r.Format = "vhdx" }},
		{"compressed raw", "InvalidArgument", "compress", func(r *providerv1.ExportDiskRequest) { r.Format, r.Compress = "raw", true }},
		{"no bucket", "FailedPrecondition", "NoSuchBucket", func(r *providerv1.ExportDiskRequest) { r.DestinationUrl = "s3://other/key" }},
		{"no key", "InvalidArgument", "key", func(r *providerv1.ExportDiskRequest) { r.DestinationUrl = "s3://bucket/" }},
		{"a web server", "InvalidArgument", "allowed are pvc, s3 and nfs", func(r *providerv1.ExportDiskRequest) {
			r.DestinationUrl, r.BackendType, r.StorageOptionsJson = "http://example.org/a", "", ""
		}},
		{"a claim that is not mounted", "FailedPrecondition", "not mounted", func(r *providerv1.ExportDiskRequest) {
			r.DestinationUrl, r.BackendType, r.StorageOptionsJson = "pvc://other/a", "pvc", ""
		}},
		{"past the provider", "InvalidArgument", "transfer_mode", func(r *providerv1.ExportDiskRequest) { r.TransferMode = "direct" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := depot.exportOf(id, "s3", "export.qcow2", "qcow2")
			tt.change(req)
			_, err := client.ExportDisk(background, req)
			refusedWith(t, err, tt.code, tt.text)
			unchanged(t, nas, before)
		})
	}
}

// TestExportReplacesAnEarlierSnapshot: an attempt whose staging dataset is gone may have left its snapshot, which is of an earlier
// moment.
func TestExportReplacesAnEarlierSnapshot(t *testing.T) {
	depot := newDepot(t)
	client, nas := onRelease(t, "25.10", depot.reach)
	id := byHand(t, client, nas, bytes.Repeat([]byte("a"), 1<<20))
	req := depot.exportOf(id, "s3", "export.raw", "raw")
	out, err := client.ExportDisk(background, req)
	if err != nil {
		t.Fatal(err)
	}
	before := nas.State()
	if err := nas.AddSnapshot("tank/hand@vrexport-" + out.GetExportId()); err != nil {
		t.Fatal(err)
	}
	current := bytes.Repeat([]byte("b"), 1<<20)
	if _, err := nas.WriteVolume("tank/hand", current, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := client.ExportDisk(background, req); err != nil {
		t.Fatal(err)
	}
	if got := depot.get(t, "s3", "export.raw"); !bytes.Equal(got, current) {
		t.Errorf("the export of %d bytes is not the current content of the disk", len(got))
	}
	if after := nas.State(); len(after.Snapshots) != len(before.Snapshots) {
		t.Errorf("snapshots are left: %v", after.Snapshots)
	}
}

// A partial object must never appear complete.
func TestInterruptedExportLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"s3", "pvc"} {
		for _, tt := range []struct {
			name  string
			spoil func(*testing.T, *depot, *sim.Sim, context.CancelFunc)
			code  string
		}{
			{"cancelled while the NAS makes the image", func(_ *testing.T, _ *depot, nas *sim.Sim, cancel context.CancelFunc) {
				slowDownload(nas)
				on(nas, "vm.device.convert", cancel)
			}, "Canceled"},
			{"cancelled while it is written", func(_ *testing.T, _ *depot, nas *sim.Sim, cancel context.CancelFunc) {
				slowDownload(nas)
				on(nas, "filesystem.get", cancel)
			}, "Canceled"},
			{"the NAS cannot make the image", func(_ *testing.T, _ *depot, nas *sim.Sim, _ context.CancelFunc) {
				nas.Inject(sim.Fault{Method: "vm.device.convert", Then: sim.FailJob})
			}, "FailedPrecondition"},
			{"the download breaks off", func(_ *testing.T, _ *depot, nas *sim.Sim, _ context.CancelFunc) {
				nas.Inject(sim.Fault{Method: "filesystem.get", Then: sim.CutAfter})
			}, ""},
		} {
			t.Run(backend+" "+tt.name, func(t *testing.T) {
				depot := newDepot(t)
				client, nas := onRelease(t, "25.10", depot.reach)
				id := exporter(t, client, nas, scattered(20<<20))
				before := nas.State()
				ctx, cancel := context.WithCancel(background)
				defer cancel()
				tt.spoil(t, depot, nas, cancel)
				_, err := client.ExportDisk(ctx, depot.exportOf(id, backend, "export.qcow2", "qcow2"))
				if err == nil {
					t.Fatal("the export succeeded")
				}
				if tt.code != "" {
					refusedWith(t, err, tt.code, "")
				}
				nas.ClearFaults()
				nas.OnCall(nil)
				beforeLong(t, func() bool { return sameTree(before, nas.State()) })
				unchanged(t, nas, before)
				if content := depot.get(t, backend, "export.qcow2"); content != nil {
					t.Errorf("%d bytes were left", len(content))
				}
				if left, _ := filepath.Glob(filepath.Join(depot.claims, "stage", "vmmigrations", "ns", ".*")); len(left) > 0 {
					t.Errorf("leftovers: %v", left)
				}
				if _, err := client.ExportDisk(background, depot.exportOf(id, backend, "export.qcow2", "qcow2")); err != nil {
					t.Errorf("the next export: %v", err)
				}
			})
		}
	}
}

// slowDownload delays the next download, so that an export does not end before its cancellation reaches the provider.
func slowDownload(nas *sim.Sim) {
	nas.Inject(sim.Fault{Method: "filesystem.get", Then: sim.Delay, Delay: time.Minute})
}

// on calls a function when the NAS gets a call of a method.
func on(nas *sim.Sim, method string, call func()) {
	nas.OnCall(func(_ int, m string) {
		if m == method {
			call()
		}
	})
}

// beforeLong waits for work that continues briefly after its caller has left.
func beforeLong(t testing.TB, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is() && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
}

func TestExportIntoAFullPlace(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	client, nas := onRelease(t, "25.10", depot.reach)
	id := exporter(t, client, nas, scattered(20<<20))
	depot.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") != "2" {
			return false
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("<Error><Code>QuotaExceeded</Code></Error>"))
		return true
	}
	before := nas.State()
	_, err := client.ExportDisk(background, depot.exportOf(id, "s3", "export.raw", "raw"))
	refusedWith(t, err, "FailedPrecondition", "QuotaExceeded")
	unchanged(t, nas, before)
	if n := depot.unfinished(t); n > 0 {
		t.Errorf("%d uploads were not ended", n)
	}
}

func TestExportWithoutRoomOnTheNAS(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	nas, simulated := truenastest.New(t, func(c *sim.Config) { c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 64 << 20}} })
	client, _ := serve(t, nas, depot.reach)
	id := byHand(t, client, simulated, bytes.Repeat([]byte("full"), 10<<20))
	before := simulated.State()
	_, err := client.ExportDisk(background, depot.exportOf(id, "s3", "export", "qcow2"))
	refusedWith(t, err, "ResourceExhausted", "no space")
	unchanged(t, simulated, before)
}

// unfinished counts the unfinished uploads.
func (d *depot) unfinished(t testing.TB) int {
	t.Helper()
	resp, err := http.Get(d.s3.URL + "/bucket?uploads")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %d %s", err, resp.StatusCode, body.String())
	}
	return strings.Count(body.String(), "<Upload>")
}

func TestExportReplacesAnObject(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	client, nas := onRelease(t, "25.10", depot.reach)
	id := exporter(t, client, nas, scattered(4<<20))
	for _, backend := range []string{"s3", "pvc"} {
		depot.put(t, backend, "export.qcow2", bytes.Repeat([]byte("old"), 5<<20))
		if backend == "pvc" {
			if err := os.WriteFile(filepath.Join(depot.claims, "stage", "vmmigrations", "ns", ".export.qcow2.partial"), bytes.Repeat([]byte("half"), 5<<20), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var sums []string
		for range 2 {
			out, err := client.ExportDisk(background, depot.exportOf(id, backend, "export.qcow2", "qcow2"))
			if err != nil {
				t.Fatal(err)
			}
			if got := sumOf(depot.get(t, backend, "export.qcow2")); got != out.GetChecksum() {
				t.Errorf("%s: checksum is %s, want %s", backend, got, out.GetChecksum())
			}
			sums = append(sums, out.GetChecksum())
		}
		if sums[0] != sums[1] {
			t.Errorf("%s: the same disk has two checksums", backend)
		}
	}
}

// TestExportAfterALateClone: the NAS makes the clone of an interrupted attempt while the next attempt runs. The clone may be of
// another moment, so the next attempt must neither use it nor fail permanently.
func TestExportAfterALateClone(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			depot := newDepot(t)
			client, nas := onRelease(t, release, depot.reach)
			id := exporter(t, client, nas, scattered(1<<20))
			before := nas.State()
			var late error
			made := false
			nas.OnCall(func(_ int, method string) {
				if made || !strings.HasSuffix(method, ".snapshot.clone") {
					return
				}
				made = true
				for _, s := range nas.State().Snapshots {
					for _, d := range nas.State().Datasets {
						if strings.HasPrefix(d.Name, "tank/virtrigaud/staging/export-") {
							late = nas.AddClone(s.ID, d.Name+"/disk")
						}
					}
				}
			})
			_, err := client.ExportDisk(background, depot.exportOf(id, "pvc", "export.qcow2", "qcow2"))
			nas.OnCall(nil)
			if !made || late != nil {
				t.Fatalf("the late clone was made: %t, %v", made, late)
			}
			refusedWith(t, err, "Aborted", "disk")
			if _, err := client.ExportDisk(background, depot.exportOf(id, "pvc", "export.qcow2", "qcow2")); err != nil {
				t.Fatal(err)
			}
			unchanged(t, nas, before)
		})
	}
}
