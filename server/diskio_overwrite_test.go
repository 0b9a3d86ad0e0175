package server_test

import (
	"fmt"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// ofImport returns a request for a VM with an imported root disk.
func ofImport(disk string) *providerv1.CreateRequest {
	return &providerv1.CreateRequest{
		Name: "moved", ImageJson: fmt.Sprintf(`{"Path":%q}`, disk), ClassJson: `{"CPU":1,"MemoryMiB":512,"Firmware":"BIOS"}`,
	}
}

// TestImportOverADiskThatGetsAttached: a repeated import without a checksum replaces the disk. A VM that attaches the disk during
// the upload keeps it.
func TestImportOverADiskThatGetsAttached(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			depot := newDepot(t)
			r := newRefusing(t, release, depot.reach)
			content := sample(t, "v3.qcow2")
			depot.put(t, "s3", "disk.qcow2", content)
			again := depot.importOf("s3", "disk.qcow2", "qcow2", "moved", content)
			again.VerifyChecksum = false
			imported, err := r.client.ImportDisk(t.Context(), again)
			must(t, err)
			err = r.during(overtaken{at: "filesystem.put", do: func(r *refusing) {
				_, err := r.client.Create(t.Context(), ofImport(imported.GetPath()))
				must(r.T, err)
				write(t, r.nas, imported.GetPath(), "of the guest")
			}, call: func(r *refusing) error {
				_, err := r.client.ImportDisk(t.Context(), again)
				return err
			}})
			refusedWith(t, err, "FailedPrecondition", "is a disk of VM")
			if got := read(t, r.nas, imported.GetPath(), len("of the guest")); got != "of the guest" {
				t.Errorf("the disk of the VM holds %q", got)
			}
			clean(t, r.nas)
		})
	}
}

// TestUnfinishedImportIsNotAttached: a repeated import was interrupted after it had discarded the disk. The path is known since the first one.
func TestUnfinishedImportIsNotAttached(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			depot := newDepot(t)
			r := newRefusing(t, release, depot.reach)
			content := sample(t, "v3.qcow2")
			depot.put(t, "s3", "disk.qcow2", content)
			again := depot.importOf("s3", "disk.qcow2", "qcow2", "moved", content)
			again.VerifyChecksum = false
			imported, err := r.client.ImportDisk(t.Context(), again)
			must(t, err)
			method := "vm.device.convert"
			if release == "25.04.2" {
				method = "vm.import_disk_image"
			}
			r.nas.Inject(sim.Fault{Method: method, Then: sim.CutBefore})
			_, err = r.client.ImportDisk(t.Context(), again)
			refusedWith(t, err, "Unavailable", method)
			_, err = r.client.Create(t.Context(), ofImport(imported.GetPath()))
			refusedWith(t, err, "FailedPrecondition", "image_json.Path: the import of "+imported.GetPath())
			_, err = r.client.ImportDisk(t.Context(), again)
			must(t, err)
			_, err = r.client.Create(t.Context(), ofImport(imported.GetPath()))
			must(t, err)
		})
	}
}
