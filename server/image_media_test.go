package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// installerISO has the fields that identify an ISO 9660 image, of 2 MiB (genisoimage -o installer.iso folder).
func installerISO() []byte {
	iso := make([]byte, 2<<20)
	copy(iso[0x8000:], "\x01CD001\x01")
	iso[0x8000+80], iso[0x8000+81] = 0x00, 0x04 // 1024 blocks
	iso[0x8000+128], iso[0x8000+129] = 0x00, 0x08
	copy(iso[0x9000:], "an installer")
	return iso
}

// installer returns a provider with a prepared installer ISO, on a release.
func installer(t *testing.T, release string) (providerv1.ProviderClient, *server.Server, *sim.Sim, string, string) {
	t.Helper()
	nas, simulated := truenastest.New(t, func(c *sim.Config) { c.Release = release })
	client, s := serve(t, nas, loopbackImages)
	url := serveFiles(t, map[string][]byte{"installer.iso": installerISO()}) + "/installer.iso"
	job := fmt.Sprintf(`{"source":{"libvirt":{"url":%q,"format":"iso"}}}`, url)
	resp, err := client.ImagePrepare(context.Background(), &providerv1.ImagePrepareRequest{ImageJson: job, TargetName: "installer"})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
	return client, s, simulated, resp.GetPreparedImagePath(), job
}

// drives returns the CD-ROM drives and the order of all devices of a VM, as "<type> <order>".
func drives(t *testing.T, nas *sim.Sim, name string) (cdroms []string, orders map[string]int) {
	t.Helper()
	orders = map[string]int{}
	for _, vm := range nas.VMs() {
		if vm.Name != name {
			continue
		}
		for _, d := range vm.Devices {
			kind := fmt.Sprint(d.Attributes["dtype"])
			path := fmt.Sprint(d.Attributes["path"])
			if strings.Contains(path, "/seed-") {
				continue
			}
			if kind == "CDROM" {
				cdroms = append(cdroms, path)
			}
			orders[kind] = max(orders[kind], d.Order)
		}
	}
	return cdroms, orders
}

func TestInstallerISOIsACDROM(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, _, nas, path, _ := installer(t, release)
			ctx := context.Background()
			req := wanted("web-1")
			req.ImageJson, req.UserData = fmt.Sprintf(`{"Path":%q,"Format":"qcow2"}`, path), nil
			req.ClassJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"}`
			_, err := client.Create(ctx, req)
			refusedWith(t, err, "InvalidArgument", "class_json.DiskDefaults.SizeGiB: must be given: the image is an installer ISO")

			req.ClassJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20}}`
			var header metadata.MD
			created, err := client.Create(ctx, req, grpc.Header(&header))
			if err != nil {
				t.Fatal(err)
			}
			if note := header.Get("truenas-note"); len(note) != 1 || !strings.Contains(note[0], "CD-ROM") {
				t.Errorf("the note is %q", note)
			}
			cdroms, orders := drives(t, nas, "web_1")
			if len(cdroms) != 1 || !strings.HasSuffix(cdroms[0], "/image.iso") {
				t.Fatalf("the drives hold %q", cdroms)
			}
			if orders["DISK"] >= orders["CDROM"] || orders["NIC"] != 0 && orders["CDROM"] >= orders["NIC"] {
				t.Errorf("the boot order is %v", orders)
			}
			root := make([]byte, 4096)
			if _, err := nas.ReadVolume("tank/virtrigaud/vms/web_1/root", root, 0x9000); err != nil || strings.Trim(string(root), "\x00") != "" {
				t.Errorf("the ISO lies on the root disk, or %v", err)
			}
			described, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: created.GetId()})
			var raw map[string]string
			if err != nil || json.Unmarshal([]byte(described.GetProviderRawJson()), &raw) != nil || raw["cdroms"] != cdroms[0] {
				t.Errorf("Describe says %q, %v", raw["cdroms"], err)
			}

			second := wanted("web-2")
			second.ImageJson, second.UserData, second.ClassJson, second.NetworksJson = req.ImageJson, nil, req.ClassJson, ""
			if _, err := client.Create(ctx, second); err != nil { // one ISO serves many VMs
				t.Fatal(err)
			}
			before := nas.State()
			if again, err := client.Create(ctx, req); err != nil || again.GetId() != created.GetId() {
				t.Errorf("Create again: %v, %v", again, err)
			}
			if len(nas.VMs()) != len(before.VMs) {
				t.Error("a repeated Create changed the NAS")
			}
			for _, op := range []providerv1.PowerOp{providerv1.PowerOp_POWER_OP_ON, providerv1.PowerOp_POWER_OP_OFF} {
				if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: created.GetId(), Op: op}); err != nil {
					t.Error(err)
				}
			}
			if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: created.GetId()}); err != nil {
				t.Error(err)
			}
			if left := below(nas.State(), "tank/virtrigaud/images/"); len(left) == 0 {
				t.Error("Delete removed the ISO")
			}
		})
	}
}

// TestInstallerISOInUseStays: removing its dataset would stop the VMs that have it in a drive.
func TestInstallerISOInUseStays(t *testing.T) {
	t.Parallel()
	client, s, _, path, job := installer(t, "25.10")
	ctx := context.Background()
	req := wanted("web-1")
	req.ImageJson, req.UserData = fmt.Sprintf(`{"Path":%q}`, path), nil
	req.ClassJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20}}`
	created, err := client.Create(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if unused, err := s.PruneImages(ctx, -time.Hour, true); err != nil || len(unused) != 0 {
		t.Errorf("unused are %v, %v", unused, err)
	}
	forced := strings.TrimSuffix(job, "}") + `,"prepare":{"force":true,"retries":0}}`
	resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: forced, TargetName: "installer"})
	if err == nil {
		finish(t, client, resp.GetTask())
		_, err = client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: forced, TargetName: "installer"})
	}
	refusedWith(t, err, "FailedPrecondition", "in a drive")

	if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: created.GetId()}); err != nil {
		t.Fatal(err)
	}
	if unused, err := s.PruneImages(ctx, -time.Hour, false); err != nil || len(unused) != 1 {
		t.Errorf("unused are %v, %v", unused, err)
	}
}

// TestInstallerThatWasNotSealed: the file of an ISO has arrived, but not the snapshot that proves it complete. The next request
// discards the file, because it may be incomplete, and the ISO arrives again.
func TestInstallerThatWasNotSealed(t *testing.T) {
	for release, snapshot := range map[string]string{"25.04.2": "zfs.snapshot.create", "26": "pool.snapshot.create"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onRelease(t, release, loopbackImages)
			iso := installerISO()
			url := serveFiles(t, map[string][]byte{"installer.iso": iso}) + "/installer.iso"
			job := fmt.Sprintf(`{"source":{"libvirt":{"url":%q}},"prepare":{"retries":0}}`, url)
			nas.Inject(sim.Fault{Method: snapshot, Then: sim.Refuse})
			resp, err := prepare(t, client, job)
			must(t, err)
			finish(t, client, resp.GetTask())
			file := "/mnt/" + strings.TrimSuffix(resp.GetPreparedImagePath(), "@ready") + "/image.iso"
			must(t, nas.WriteFile(file, []byte("a part of it")))
			_, err = prepare(t, client, job)
			refusedWith(t, err, "FailedPrecondition", "snapshot.create")
			resp, err = prepare(t, client, job)
			must(t, err)
			finish(t, client, resp.GetTask())
			if resp, err := prepare(t, client, job); err != nil || resp.GetTask() != nil {
				t.Errorf("after the task: %v, %v", resp, err)
			}
			if got, err := nas.File(file); err != nil || !bytes.Equal(got, iso) {
				t.Errorf("the file is not the ISO: %d bytes, %v", len(got), err)
			}
		})
	}
}
