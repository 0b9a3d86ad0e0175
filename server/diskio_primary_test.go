package server_test

import (
	"bytes"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// TestExportOfReorderedDisks: a migration names no disk, and moves the root disk, also when a user put another disk before it.
func TestExportOfReorderedDisks(t *testing.T) {
	depot := newDepot(t)
	r := newRefusing(t, "25.10", depot.reach)
	write(t, r.nas, "tank/virtrigaud/vms/web_1/root", "system")
	vms, err := r.api.VMs.ByUUID(t.Context(), r.id)
	must(t, err)
	must(t, misplace(t, r.api, vms[0]))
	info, err := r.client.GetDiskInfo(t.Context(), &providerv1.GetDiskInfoRequest{VmId: r.id})
	must(t, err)
	if info.GetPath() != "tank/virtrigaud/vms/web_1/root" || !info.GetIsBootable() {
		t.Errorf("the disk is %v", info)
	}
	_, err = r.client.ExportDisk(t.Context(), depot.exportOf(r.id, "pvc", "export.qcow2", "qcow2"))
	must(t, err)
	if !bytes.Contains(depot.get(t, "pvc", "export.qcow2"), []byte("system")) {
		t.Error("another disk was exported")
	}
}

// TestDiskIDOfTwoDisks: a name that two disks have selects neither of them.
func TestDiskIDOfTwoDisks(t *testing.T) {
	r := newRefusing(t, "25.10")
	for _, parent := range []string{"tank/a", "tank/b"} {
		must(t, r.nas.AddDataset(parent, nil))
		must(t, r.nas.AddVolume(parent+"/extra", 1<<30, nil))
		r.attach(parent + "/extra")
	}
	_, err := r.client.GetDiskInfo(t.Context(), &providerv1.GetDiskInfoRequest{VmId: r.id, DiskId: "extra"})
	refusedWith(t, err, "InvalidArgument", "disk_id: ")
	info, err := r.client.GetDiskInfo(t.Context(), &providerv1.GetDiskInfoRequest{VmId: r.id, DiskId: "tank/b/extra"})
	if err != nil || info.GetPath() != "tank/b/extra" {
		t.Errorf("got %v, %v", info, err)
	}
}
