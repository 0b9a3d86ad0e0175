package server_test

import (
	"path"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// TestCloneOfReorderedDisks: a user put another disk before the root disk. The clone has each disk under its own name, also when
// the order changes before a repeated call.
func TestCloneOfReorderedDisks(t *testing.T) {
	for _, release := range releases {
		for _, linked := range []bool{true, false} {
			t.Run(release+map[bool]string{true: "/linked", false: "/full"}[linked], func(t *testing.T) {
				t.Parallel()
				r := newRefusing(t, release)
				write(t, r.nas, "tank/virtrigaud/vms/web_1/root", "system")
				write(t, r.nas, "tank/virtrigaud/vms/web_1/data", "files")
				vms, err := r.api.VMs.ByUUID(t.Context(), r.id)
				must(t, err)
				must(t, misplace(t, r.api, vms[0]))
				for _, d := range vms[0].Devices {
					if strings.HasSuffix(d.Attributes.Path, "/data") {
						d.Attributes.Type = "AHCI"
						_, err := r.api.Devices.Update(t.Context(), d.ID, truenas.DeviceUpdate{Attributes: &d.Attributes})
						must(t, err)
					}
				}
				for range 2 {
					_, err := r.client.Clone(t.Context(), &providerv1.CloneRequest{SourceVmId: r.id, TargetName: "web-2", Linked: linked})
					must(t, err)
				}
				for volume, want := range map[string]string{"root": "system", "data": "files"} {
					if got := read(t, r.nas, "tank/virtrigaud/vms/web_2/"+volume, len(want)); got != want {
						t.Errorf("%s holds %q, want %q", volume, got, want)
					}
				}
				vms, err = r.api.VMs.List(t.Context(), truenas.Where("name", "web_2"))
				must(t, err)
				if got := disksOf(vms[0]); len(got) != 2 || got[0] != "root" || got[1] != "data" {
					t.Errorf("the clone has the disks %v", got)
				}
				for _, d := range vms[0].Devices {
					if volume := path.Base(d.Attributes.Path); d.Attributes.DType == truenas.DeviceDisk && d.Attributes.Type != map[string]string{"root": "VIRTIO", "data": "AHCI"}[volume] {
						t.Errorf("disk %s is of type %s", volume, d.Attributes.Type)
					}
				}
			})
		}
	}
}

// TestCloneOfDisksWithOneName: two disks of the source cannot become one disk of the clone.
func TestCloneOfDisksWithOneName(t *testing.T) {
	r := newRefusing(t, "25.10")
	for _, name := range []string{"tank/virtrigaud/imports", "tank/virtrigaud/imports/a", "tank/virtrigaud/imports/b"} {
		must(t, r.nas.AddDataset(name, nil))
	}
	for _, volume := range []string{"tank/virtrigaud/imports/a/disk", "tank/virtrigaud/imports/b/disk"} {
		must(t, r.nas.AddVolume(volume, 1<<30, nil))
		r.attach(volume)
	}
	untouched(t, r.nas, func() error { return r.clone(func(*providerv1.CloneRequest) {}) }, codes.FailedPrecondition,
		"imports/a/disk", "imports/b/disk", "web-1")
}

// disksOf returns the names of a VM's disks in boot order.
func disksOf(vm truenas.VM) []string {
	var names []string
	for _, volume := range vmrecord.Disks(vm) {
		names = append(names, path.Base(volume))
	}
	return names
}
