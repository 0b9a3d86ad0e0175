package sim

import (
	"fmt"
	"testing"
)

// The log of a VM grows with each start and stop, and does not exist before the first start.
func TestLogGrows(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			var vm struct {
				ID   int
				UUID string
			}
			n.must(&vm, "vm.create", object{"name": "logged", "memory": 64, "uuid": "6b3f8ac0-6c3c-4f4e-9d6e-0f5a5b2f4a01"})
			name := fmt.Sprintf("%d_logged", vm.ID)
			if release >= "26" {
				name = vm.UUID
			}
			path := "/var/log/libvirt/qemu/" + name + ".log"
			n.fails(eNOENT, "not found", "filesystem.stat", path)
			var last struct{ Size int64 }
			for _, method := range []string{"vm.start", "vm.poweroff", "vm.start"} {
				n.must(nil, method, vm.ID)
				before := last.Size
				if n.must(&last, "filesystem.stat", path); last.Size <= before {
					t.Errorf("after %s the log has %d bytes, before it %d", method, last.Size, before)
				}
			}
		})
	}
}
