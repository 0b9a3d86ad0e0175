package truenas

import "testing"

func TestRoleOfAMethod(t *testing.T) {
	for method, want := range map[string]string{
		"vm.query": "VM_READ", "vm.start": "VM_WRITE", "vm.bootloader_ovmf_choices": "VM_READ",
		"vm.device.query": "VM_DEVICE_READ", "vm.device.nic_attach_choices": "VM_DEVICE_READ", "vm.device.convert": "VM_DEVICE_WRITE",
		"pool.dataset.query": "DATASET_READ", "pool.dataset.promote": "DATASET_WRITE",
		"zfs.snapshot.query": "SNAPSHOT_READ", "pool.snapshot.clone": "SNAPSHOT_WRITE",
		"filesystem.put": "FULL_ADMIN", "core.arp": "FULL_ADMIN", "core.get_jobs": "", "auth.login_ex": "",
	} {
		if got := roleFor(method); got != want {
			t.Errorf("%s: %q, want %q", method, got, want)
		}
	}
}

func TestHeldRoles(t *testing.T) {
	for _, tt := range []struct {
		name, held, wanted string
		want               bool
	}{
		{"the role itself", "VM_READ", "VM_READ", true},
		{"writing holds reading", "VM_WRITE", "VM_READ", true},
		{"reading holds no writing", "VM_READ", "VM_WRITE", false},
		{"of another family", "DATASET_WRITE", "VM_READ", false},
		{"a longer name of another family", "VM_DEVICE_WRITE", "VM_READ", false},
		{"FULL_ADMIN holds all", "FULL_ADMIN", "REPLICATION_TASK_WRITE", true},
		{"READONLY_ADMIN holds reading", "READONLY_ADMIN", "DATASET_READ", true},
		{"READONLY_ADMIN holds no writing", "READONLY_ADMIN", "DATASET_WRITE", false},
		{"none", "", "VM_READ", false},
	} {
		if got := Holds([]string{tt.held}, tt.wanted); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
