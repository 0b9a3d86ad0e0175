package server_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// sameTree compares two states, except for the empty folders of the provider's tree.
func sameTree(before, after sim.State) bool {
	drop := func(s sim.State) sim.State {
		s = dropTree(s)
		s.Datasets = slices.DeleteFunc(s.Datasets, func(d sim.DatasetState) bool { return d.Name == "tank/virtrigaud/imports" })
		return s
	}
	return reflect.DeepEqual(drop(before), drop(after))
}

func TestImportDisk(t *testing.T) {
	t.Parallel()
	want := sample(t, "plain.raw")
	formats := map[string]string{
		"qcow2": "v3.qcow2", "vmdk": "streamOptimized.vmdk", "raw": "plain.raw", "vdi": "dynamic.vdi", "vhdx": "dynamic.vhdx",
	}
	depot := newDepot(t)
	for _, release := range releases {
		for format, name := range formats {
			for _, backend := range []string{"s3", "pvc", "nfs", "http"} {
				t.Run(release+" "+format+" from "+backend, func(t *testing.T) {
					client, nas := onRelease(t, release, depot.reach)
					content := sample(t, name)
					depot.put(t, backend, name, content)
					target := "move-" + format + "-" + backend
					resp, err := client.ImportDisk(background, depot.importOf(backend, name, format, target, content))
					if err != nil {
						t.Fatal(err)
					}
					volume := "tank/virtrigaud/imports/" + strings.ReplaceAll(target, "-", "_") + "/disk"
					if resp.GetPath() != volume || resp.GetDiskId() != volume || resp.GetChecksum() != sumOf(content) || resp.GetActualSizeBytes() != int64(len(want)) || resp.GetTask() != nil {
						t.Errorf("got %v", resp)
					}
					holds(t, nas, volume, want)
					clean(t, nas)
				})
			}
		}
	}
}

func TestImportedDiskIsAttachedAndNotCloned(t *testing.T) {
	t.Parallel()
	want := sample(t, "plain.raw")
	depot := newDepot(t)
	depot.put(t, "s3", "disk.qcow2", sample(t, "v3.qcow2"))
	client, nas := onRelease(t, "25.10", depot.reach)
	resp, err := client.ImportDisk(background, depot.importOf("s3", "disk.qcow2", "qcow2", "web-1", sample(t, "v3.qcow2")))
	if err != nil {
		t.Fatal(err)
	}
	req := wanted("web-1")
	req.ClassJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"}`
	req.ImageJson = fmt.Sprintf(`{"Path":%q,"Format":"qcow2"}`, resp.GetPath())
	created, err := client.Create(background, req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Power(background, &providerv1.PowerRequest{Id: created.GetId(), Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
		t.Fatal(err)
	}
	holds(t, nas, resp.GetPath(), want)
	for _, d := range nas.State().Datasets {
		if d.Origin != "" {
			t.Errorf("%s is a clone of %s", d.Name, d.Origin)
		}
	}
	// An import of another disk with that name would replace it.
	depot.put(t, "s3", "other.raw", want)
	_, err = client.ImportDisk(background, depot.importOf("s3", "other.raw", "raw", "web-1", want))
	refusedWith(t, err, "FailedPrecondition", "is a disk of VM")
	if _, err := client.Delete(background, &providerv1.DeleteRequest{Id: created.GetId()}); err != nil {
		t.Fatal(err)
	}
	if left := below(nas.State(), "tank/virtrigaud/imports/"); len(left) > 0 {
		t.Errorf("leftovers after Delete: %v", left)
	}
}

func TestImportIsRepeated(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	first, second := sample(t, "v3.qcow2"), sample(t, "streamOptimized.vmdk")
	depot.put(t, "s3", "export", first)
	client, nas := onRelease(t, "25.10", depot.reach)
	fetched := atomic.Int64{}
	depot.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && r.Header.Get("Range") == "" {
			fetched.Add(1)
		}
		return false
	}
	ask := func(format string, content []byte, verify bool) {
		t.Helper()
		req := depot.importOf("s3", "export", format, "web-1", content)
		req.VerifyChecksum = verify
		resp, err := client.ImportDisk(background, req)
		if err != nil || resp.GetChecksum() != sumOf(content) {
			t.Fatalf("got %v, %v", resp, err)
		}
		holds(t, nas, resp.GetPath(), sample(t, "plain.raw"))
		clean(t, nas)
	}
	for _, tt := range []struct {
		name    string
		format  string
		content []byte
		verify  bool
		fetches int64
	}{
		{"the first time", "qcow2", first, true, 1},
		{"the same again", "qcow2", first, true, 1},
		{"without a checksum the disk is imported again", "qcow2", first, false, 2},
		{"another disk in its place", "vmdk", second, true, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			depot.put(t, "s3", "export", tt.content)
			ask(tt.format, tt.content, tt.verify)
			if n := fetched.Load(); n != tt.fetches {
				t.Errorf("the staged disk was fetched %d times, want %d", n, tt.fetches)
			}
		})
	}
}

func TestImportRefusals(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	good, raw := sample(t, "v3.qcow2"), sample(t, "plain.raw")
	depot.put(t, "s3", "good.qcow2", good)
	depot.put(t, "s3", "plain.raw", raw)
	hostile := bytes.Clone(good)
	hostile[15], hostile[19] = 104, 11 // a backing file's name
	depot.put(t, "s3", "hostile.qcow2", hostile)
	depot.put(t, "s3", "short.qcow2", good[:len(good)/2])
	client, nas := onRelease(t, "25.10", depot.reach, func(c *server.Config) { c.Disk.MaxVirtualBytes = 1 << 30 })
	before := nas.State()
	for _, tt := range []struct {
		name, code, text string
		change           func(*providerv1.ImportDiskRequest)
	}{
		{"a wrong checksum", "FailedPrecondition", "checksum", func(r *providerv1.ImportDiskRequest) { r.ExpectedChecksum = sumOf(raw) }},
		{"a checksum that is none", "InvalidArgument", "checksum", func(r *providerv1.ImportDiskRequest) { r.ExpectedChecksum = "abc" }},
		{"an image with a backing file", "FailedPrecondition", "backing file", func(r *providerv1.ImportDiskRequest) {
			r.SourceUrl, r.VerifyChecksum = depot.url("s3", "hostile.qcow2"), false
		}},
		{"qcow2 that claims to be raw", "InvalidArgument", "announced was raw", func(r *providerv1.ImportDiskRequest) { r.Format = "raw" }},
		{"raw that claims to be qcow2", "InvalidArgument", "announced was qcow2", func(r *providerv1.ImportDiskRequest) { r.SourceUrl = depot.url("s3", "plain.raw") }},
		{"half an image", "FailedPrecondition", "", func(r *providerv1.ImportDiskRequest) { r.SourceUrl = depot.url("s3", "short.qcow2") }},
		{"nothing there", "FailedPrecondition", "not found", func(r *providerv1.ImportDiskRequest) { r.SourceUrl = depot.url("s3", "none") }},
		{"a claim that is not mounted", "FailedPrecondition", "not mounted", func(r *providerv1.ImportDiskRequest) {
			r.SourceUrl, r.BackendType, r.StorageOptionsJson = "pvc://other/a/b.qcow2", "pvc", ""
		}},
		{"a path out of the claim", "InvalidArgument", "names no file", func(r *providerv1.ImportDiskRequest) {
			r.SourceUrl, r.BackendType, r.StorageOptionsJson = "pvc://stage/../other/b.qcow2", "pvc", ""
		}},
		{"an export that is not mounted", "FailedPrecondition", "mounted", func(r *providerv1.ImportDiskRequest) {
			r.SourceUrl, r.BackendType, r.StorageOptionsJson = "nfs://other/pool/stage/b.qcow2", "nfs", ""
		}},
		{"a file of the provider's own", "InvalidArgument", "scheme", func(r *providerv1.ImportDiskRequest) {
			r.SourceUrl, r.BackendType, r.StorageOptionsJson = "file://localhost/etc/passwd", "", ""
		}},
		{"a format that is not read", "InvalidArgument", "format", func(r *providerv1.ImportDiskRequest) { r.Format = "vhd2" }},
		{"a transfer that goes past the provider", "InvalidArgument", "transfer_mode", func(r *providerv1.ImportDiskRequest) { r.TransferMode = "direct" }},
		{"a backend that is another one's", "InvalidArgument", "backend_type", func(r *providerv1.ImportDiskRequest) { r.BackendType = "nfs" }},
		{"an option that is not known", "InvalidArgument", "storage_options_json.colour", func(r *providerv1.ImportDiskRequest) { r.StorageOptionsJson = `{"colour":"red"}` }},
		{"half a key", "InvalidArgument", "credentials", func(r *providerv1.ImportDiskRequest) { delete(r.Credentials, "secretAccessKey") }},
		{"no name", "InvalidArgument", "target_name", func(r *providerv1.ImportDiskRequest) { r.TargetName = "" }},
		{"a pool that is not there", "FailedPrecondition", "storage_hint", func(r *providerv1.ImportDiskRequest) { r.StorageHint = "lake" }},
		{"no pool's name", "InvalidArgument", "storage_hint", func(r *providerv1.ImportDiskRequest) { r.StorageHint = "tank/x" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := depot.importOf("s3", "good.qcow2", "qcow2", "web-1", good)
			tt.change(req)
			_, err := client.ImportDisk(background, req)
			refusedWith(t, err, tt.code, tt.text)
			if err != nil && strings.Contains(err.Error(), "secret") && !strings.Contains(err.Error(), "secretAccessKey") {
				t.Errorf("a secret is in %v", err)
			}
			if after := nas.State(); !sameTree(before, after) {
				t.Errorf("leftovers:\n%s", diff(t, before, after))
			}
		})
	}
}

func TestImportWithoutRoomSendsNothing(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	content := sample(t, "v3.qcow2")
	depot.put(t, "s3", "good.qcow2", content)
	nas, simulated := truenastest.New(t, func(c *sim.Config) { c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 4 << 20}} })
	client, _ := serve(t, nas, depot.reach)
	_, err := client.ImportDisk(background, depot.importOf("s3", "good.qcow2", "qcow2", "web-1", content))
	refusedWith(t, err, "ResourceExhausted", "no space")
	for _, call := range simulated.Calls() {
		if call == "filesystem.put" {
			t.Error("the disk was sent")
		}
	}
}

func TestCancelledImportLeavesNothing(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	content := scattered(8 << 20)
	depot.put(t, "s3", "disk.raw", content)
	client, nas := onRelease(t, "25.10", depot.reach)
	before := nas.State()
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	nas.OnCall(func(_ int, method string) {
		if method == "filesystem.put" {
			cancel()
		}
	})
	_, err := client.ImportDisk(ctx, depot.importOf("s3", "disk.raw", "raw", "web-1", content))
	refusedWith(t, err, "Canceled", "")
	nas.OnCall(nil)
	deadline := time.Now().Add(20 * time.Second)
	for !sameTree(before, nas.State()) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // The handler continues briefly after its caller has left.
	}
	if after := nas.State(); !sameTree(before, after) {
		t.Errorf("leftovers:\n%s", diff(t, before, after))
	}
	if _, err := client.ImportDisk(background, depot.importOf("s3", "disk.raw", "raw", "web-1", content)); err != nil {
		t.Fatal(err)
	}
	holds(t, nas, "tank/virtrigaud/imports/web_1/disk", content)
}

// TestImportThatIsTakenOver: another process treats this one as dead and removes its staging objects. If it reported a missing
// object, the manager would let the migration fail permanently.
func TestImportThatIsTakenOver(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"filesystem.put", "vm.device.convert"} {
		t.Run(at, func(t *testing.T) {
			depot := newDepot(t)
			nas, address := truenastest.Serve(t, truenastest.Release("25.10"))
			client, _ := startProvider(t, address, depot.reach)
			api, err := truenas.New(truenastest.Config(address))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = api.Close() }()
			content := sample(t, "v3.qcow2")
			depot.put(t, "s3", "disk.qcow2", content)
			var once sync.Once
			nas.OnCall(func(_ int, method string) {
				if method != at {
					return
				}
				once.Do(func() {
					for _, staged := range below(nas.State(), "tank/virtrigaud/staging/") {
						if err := api.Datasets.Delete(background, staged, truenas.DatasetDelete{Recursive: true}); err != nil {
							t.Error(err)
						}
					}
				})
			})
			_, err = client.ImportDisk(background, depot.importOf("s3", "disk.qcow2", "qcow2", "web-1", content))
			refusedWith(t, err, "Aborted", "another process")
			if _, err := client.ImportDisk(background, depot.importOf("s3", "disk.qcow2", "qcow2", "web-1", content)); err != nil {
				t.Errorf("asked again: %v", err)
			}
		})
	}
}

// TestImportLeavesNoStaging: the importing process was killed before its cleanup, and another process gets the next and last call.
func TestImportLeavesNoStaging(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	nas, address := truenastest.Serve(t, truenastest.Release("25.10"))
	client, _ := startProvider(t, address, depot.reach, func(c *server.Config) { c.LeaseFor = 2 * time.Second })
	content := sample(t, "v3.qcow2")
	depot.put(t, "s3", "disk.qcow2", content)
	ask := func() {
		t.Helper()
		if _, err := client.ImportDisk(background, depot.importOf("s3", "disk.qcow2", "qcow2", "web-1", content)); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	seen := fmt.Sprint(time.Now().UnixMilli())
	if err := nas.AddDataset("tank/virtrigaud/staging/import-web_1", map[string]string{
		"virtrigaud:provider": "test", "virtrigaud:worker": "another", "virtrigaud:beat": seen,
	}); err != nil {
		t.Fatal(err)
	}
	ask()
	if left := below(nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
		t.Errorf("staging is not empty: %v", left)
	}
}
