package server_test

import (
	"fmt"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
)

// TestReconfigureUsesAVolumeAgain: an interrupted Reconfigure has made the volume of a new disk and not attached it. The next one
// desires another size.
func TestReconfigureUsesAVolumeAgain(t *testing.T) {
	const volume = "tank/virtrigaud/vms/web_1/more"
	disks := func(gib int, kind string) string {
		return desired(2, 2048, 20, fmt.Sprintf(`[{"SizeGiB":5,"Type":"thin","Name":"data"},{"SizeGiB":%d,"Type":%q,"Name":"more"}]`, gib, kind))
	}
	size := func(r *refusing) (bytes, reserved int64) {
		for _, d := range r.nas.State().Datasets {
			if d.Name == volume {
				return d.Size, d.RefReservation
			}
		}
		r.Fatalf("%s is gone", volume)
		return 0, 0
	}
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			r := newRefusing(t, release)
			r.nas.Inject(sim.Fault{Method: "vm.device.create", Then: sim.Refuse})
			refusedWith(t, r.reconfigure(r.id, disks(5, "thin")), "FailedPrecondition", "vm.device.create")
			write(t, r.nas, volume, "kept")
			refusedWith(t, r.reconfigure(r.id, disks(4, "thin")), "FailedPrecondition", "Disks[1].SizeGiB")
			must(t, r.reconfigure(r.id, disks(10, "thick")))
			if bytes, reserved := size(r); bytes != 10<<30 || reserved < 10<<30 {
				t.Errorf("the disk has %d bytes, %d of them reserved", bytes, reserved)
			}
			if got := read(t, r.nas, volume, 4); got != "kept" {
				t.Errorf("the disk holds %q", got)
			}
		})
	}
}
