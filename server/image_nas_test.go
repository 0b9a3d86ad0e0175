package server_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/disk/disktest"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// sampleFile returns a file of the samples of package disk.
func sampleFile(t *testing.T, name string) []byte {
	t.Helper()
	return disktest.Unpacked(t, filepath.Join("disk", "testdata", name+".xz"))
}

// library returns a NAS with a dataset of image files, tank/templates, that VMs may use.
func library(t *testing.T, release string, files map[string][]byte) (providerv1.ProviderClient, *sim.Sim, *truenas.Client) {
	t.Helper()
	nas, simulated := truenastest.New(t, func(c *sim.Config) { c.Release = release })
	client, _ := serve(t, nas)
	for _, dataset := range []string{"tank/templates", "tank/secret"} {
		if err := simulated.AddDataset(dataset, nil); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range files {
		if err := simulated.WriteFile(path, content); err != nil {
			t.Fatal(err)
		}
	}
	return client, simulated, nas
}

func libraryJob(path string, more string) string {
	return fmt.Sprintf(`{"source":{"libvirt":{"path":%q%s}},"prepare":{"retries":0}}`, path, more)
}

// TestImageFileOnTheNAS converts a file in place, without an upload.
func TestImageFileOnTheNAS(t *testing.T) {
	t.Parallel()
	raw := sampleFile(t, "real/plain.raw")
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas, _ := library(t, release, map[string][]byte{
				"/mnt/tank/templates/gold.qcow2": sampleFile(t, "real/v3.qcow2"), "/mnt/tank/templates/gold.raw": raw,
			})
			ctx := context.Background()
			for n, file := range []string{"gold.qcow2", "gold.raw"} {
				resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: libraryJob("/mnt/tank/templates/"+file, ""), TargetName: "gold"})
				if err != nil {
					t.Fatal(err)
				}
				finish(t, client, resp.GetTask())
				req := wanted(fmt.Sprintf("web-%d", n))
				req.ImageJson, req.UserData, req.NetworksJson = fmt.Sprintf(`{"Path":%q}`, resp.GetPreparedImagePath()), nil, ""
				if n == 1 { // Create also accepts the file itself.
					req.ImageJson = `{"Path":"/mnt/tank/templates/gold.raw"}`
				}
				if _, err := client.Create(ctx, req); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(raw))
				if _, err := nas.ReadVolume(fmt.Sprintf("tank/virtrigaud/vms/web_%d/root", n), got, 0); err != nil || !bytes.Equal(got, raw) {
					t.Errorf("the root disk is not the image: %v", err)
				}
			}
			if slices.Contains(nas.Calls(), "filesystem.put") {
				t.Error("a file was uploaded")
			}
			if left := below(nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
				t.Errorf("staging is not empty: %v", left)
			}
			if _, err := nas.File("/mnt/tank/templates/gold.qcow2"); err != nil {
				t.Errorf("the file is gone: %v", err)
			}
		})
	}
}

func TestImageFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	packed, err := os.ReadFile(filepath.Join("disk", "testdata", "real", "plain.raw.xz"))
	if err != nil {
		t.Fatal(err)
	}
	qcow2 := sampleFile(t, "real/v3.qcow2")
	client, nas, api := library(t, "25.10", map[string][]byte{
		"/mnt/tank/secret/a.qcow2":           qcow2,
		"/mnt/tank/templates/hostile.qcow2":  sampleFile(t, "hostile/backing-passwd.qcow2"),
		"/mnt/tank/templates/disk.raw.xz":    packed,
		"/mnt/tank/templates/named.raw":      qcow2,
		"/mnt/tank/templates/named.img":      sampleFile(t, "real/plain.raw"),
		"/mnt/tank/templates/page.raw":       []byte("<html>" + strings.Repeat(" ", 1018)),
		"/mnt/tank/templates/used.raw":       sampleFile(t, "real/plain.raw"),
		"/mnt/tank/templates/good.qcow2":     qcow2,
		"/mnt/tank/templates/installer.disc": installerISO(),
	})
	if err := nas.AddVM("by_hand", 1, 512); err != nil {
		t.Fatal(err)
	}
	vms, err := api.VMs.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw := truenas.DeviceAttributes{DType: "RAW", Path: "/mnt/tank/templates/used.raw", Type: "VIRTIO", Exists: true}
	if _, err := api.Devices.Create(t.Context(), truenas.DeviceCreate{VM: vms[0].ID, Attributes: raw}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, more, code, says string }{
		{"/mnt/tank/secret/a.qcow2", "", "InvalidArgument", "images.nas_paths"},
		{"/mnt/tank/templates/../secret/a.qcow2", "", "InvalidArgument", "images.nas_paths"},
		{"/mnt/tank/templates", "", "InvalidArgument", "images.nas_paths"},
		{"/mnt/tank/virtrigaud/x.raw", "", "InvalidArgument", "images.nas_paths"},
		{"/mnt/tank/templates/nothing.raw", "", "FailedPrecondition", "is not on the NAS"},
		{"/mnt/tank/templates/hostile.qcow2", "", "FailedPrecondition", "backing file"},
		{"/mnt/tank/templates/disk.raw.xz", "", "InvalidArgument", "unpack it"},
		{"/mnt/tank/templates/named.raw", "", "InvalidArgument", "ends in .qcow2: rename it"},
		{"/mnt/tank/templates/named.img", "", "InvalidArgument", "ends in .raw: rename it"},
		{"/mnt/tank/templates/page.raw", "", "InvalidArgument", "an HTML page"},
		{"/mnt/tank/templates/used.raw", "", "FailedPrecondition", `VM "by_hand" uses`},
		{"/mnt/tank/templates/installer.disc", "", "InvalidArgument", "end in .iso"},
		{"/mnt/tank/templates/good.qcow2", `,"checksum":"` + strings.Repeat("0f", 32) + `"`, "FailedPrecondition", "sha256"},
		{"/mnt/tank/secret/a.iso", "", "InvalidArgument", "images.nas_paths"},
		{"/mnt/tank/templates/nothing.iso", "", "FailedPrecondition", "is not on the NAS"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			_, err := client.ImagePrepare(context.Background(), &providerv1.ImagePrepareRequest{ImageJson: libraryJob(tt.path, tt.more), TargetName: "x"})
			refusedWith(t, err, tt.code, tt.says)
		})
	}
	good := libraryJob("/mnt/tank/templates/good.qcow2", `,"checksum":"`+sha256Hex(qcow2)+`"`)
	resp, err := client.ImagePrepare(context.Background(), &providerv1.ImagePrepareRequest{ImageJson: good, TargetName: "x"})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
}

// TestInstallerISOOnTheNAS uses an ISO in place.
func TestInstallerISOOnTheNAS(t *testing.T) {
	t.Parallel()
	const iso = "/mnt/tank/templates/debian.iso"
	client, nas, _ := library(t, "25.10", map[string][]byte{iso: installerISO(), "/mnt/tank/secret/x.iso": installerISO()})
	ctx := context.Background()
	resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: libraryJob(iso, `,"format":"iso"`), TargetName: "x"})
	if err != nil || resp.GetTask() != nil || resp.GetPreparedImagePath() != iso {
		t.Fatalf("ImagePrepare: %v, %v", resp, err)
	}
	for _, name := range []string{"web-1", "web-2"} {
		req := wanted(name)
		req.ImageJson, req.UserData, req.NetworksJson = fmt.Sprintf(`{"Path":%q,"Format":"iso"}`, iso), nil, ""
		for range 2 {
			if _, err := client.Create(ctx, req); err != nil {
				t.Fatal(err)
			}
		}
		if cdroms, _ := drives(t, nas, strings.ReplaceAll(name, "-", "_")); len(cdroms) != 1 || cdroms[0] != iso {
			t.Errorf("the drives of %s hold %q", name, cdroms)
		}
	}
	// A second drive has the drivers for the installer.
	windows := wanted("win-1")
	windows.ImageJson, windows.UserData, windows.NetworksJson = fmt.Sprintf(`{"Path":%q}`, iso), nil, ""
	class := windows.ClassJson
	windows.ClassJson = strings.TrimSuffix(class, "}") + `,"ExtraConfig":{"truenas.cdrom":"/mnt/tank/templates/virtio-win.iso","k":"v"}}`
	_, err = client.Create(ctx, windows)
	refusedWith(t, err, "FailedPrecondition", "class_json.ExtraConfig.truenas.io/cdrom: /mnt/tank/templates/virtio-win.iso is not on the NAS")
	if err := nas.WriteFile("/mnt/tank/templates/virtio-win.iso", installerISO()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := client.Create(ctx, windows); err != nil {
			t.Fatal(err)
		}
	}
	if cdroms, _ := drives(t, nas, "win_1"); !slices.Equal(cdroms, []string{iso, "/mnt/tank/templates/virtio-win.iso"}) {
		t.Errorf("the drives hold %q", cdroms)
	}
	for value, says := range map[string]string{`"/mnt/tank/secret/x.iso"`: "images.nas_paths", `"virtio-win.iso"`: "allowed is the path of an ISO", `3`: "allowed is a text"} {
		windows.Name, windows.ClassJson = "win-2", strings.TrimSuffix(class, "}")+`,"ExtraConfig":{"truenas.cdrom":`+value+`}}`
		_, err = client.Create(ctx, windows)
		refusedWith(t, err, "InvalidArgument", says)
	}

	req := wanted("web-3")
	req.ImageJson = `{"Path":"/mnt/tank/secret/x.iso"}`
	_, err = client.Create(ctx, req)
	refusedWith(t, err, "InvalidArgument", "image_json.Path: /mnt/tank/secret/x.iso lies outside of the setting images.nas_paths")
}

// TestImageFileThatCannotBeRead: the NAS refuses a call before the image is begun. The caller gets the error at once, and nothing is
// made; the next request succeeds.
func TestImageFileThatCannotBeRead(t *testing.T) {
	const file = "/mnt/tank/templates/good.qcow2"
	for _, method := range []string{"filesystem.stat", "vm.query", "filesystem.get"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			client, nas, _ := library(t, "25.10", map[string][]byte{file: sampleFile(t, "real/v3.qcow2")})
			nas.Inject(sim.Fault{Method: method, Then: sim.Refuse})
			if resp, err := prepare(t, client, libraryJob(file, "")); err == nil {
				t.Errorf("the answer is %v", resp)
			}
			if made := below(nas.State(), "tank/virtrigaud/images/"); len(made) > 0 {
				t.Errorf("made were %v", made)
			}
			resp, err := prepare(t, client, libraryJob(file, ""))
			must(t, err)
			finish(t, client, resp.GetTask())
			if resp, err := prepare(t, client, libraryJob(file, "")); err != nil || resp.GetTask() != nil {
				t.Errorf("after the task: %v, %v", resp, err)
			}
		})
	}
}
