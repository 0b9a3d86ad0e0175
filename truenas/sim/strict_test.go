package sim

import (
	"fmt"
	"maps"
	"testing"
)

// The simulator accepts no value in any field that a NAS would refuse: direct.call checks the arguments of every successful call
// against the models.
func TestModelsAreEnforced(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			for _, tt := range strictCalls(release) {
				n := newDirect(t, release)
				n.volume("tank/v", 1<<30, nil)
				n.must(nil, n.snapshots("create"), object{"dataset": "tank/v", "name": "s"})
				n.newVM("there", nil)
				n.device(1, object{"dtype": "NIC"})
				for _, field := range tt.fields {
					for i, odd := range oddities() {
						tt.try(n, field, odd, i)
					}
				}
			}
		})
	}
}

func oddities() []any {
	return []any{nil, "", "x", "INHERIT", "1K", "ON", -1, 0, 1, 7, 300, 1 << 20, 2 << 30, 1.5, true, []any{}, []any{"x"}, []any{nil}, object{}, object{"a": 1}}
}

type strictCall struct {
	method string
	before []any  // arguments before the object
	base   object // valid fields
	inside string // member of base that contains the fields; "": base itself
	unique string // member that needs a new name in every call
	fields []string
}

// try makes a call for each odd value of one field. The call may succeed or fail.
func (s strictCall) try(n *direct, field string, odd any, i int) {
	n.t.Helper()
	p := maps.Clone(s.base)
	if s.inside != "" {
		inner := maps.Clone(p[s.inside].(object))
		inner[field] = odd
		p[s.inside] = inner
	} else {
		p[field] = odd
	}
	if name, ok := p[s.unique].(string); ok && field != s.unique {
		p[s.unique] = fmt.Sprint(name, field, i)
	}
	if raw, err := n.call(s.method, append(append([]any{}, s.before...), p)...); err == nil && raw == nil {
		n.t.Errorf("%s answers nothing", s.method)
	}
}

func strictCalls(release string) []strictCall {
	vm := []string{"command_line_args", "cpu_mode", "cpu_model", "name", "description", "vcpus", "cores", "threads", "cpuset", "nodeset",
		"enable_cpu_topology_extension", "pin_vcpus", "suspend_on_snapshot", "trusted_platform_module", "memory", "min_memory",
		"hyperv_enlightenments", "bootloader", "bootloader_ovmf", "autostart", "hide_from_msr", "ensure_display_device", "time",
		"shutdown_timeout", "arch_type", "machine_type", "uuid", "enable_secure_boot", "devices", "id"}
	dataset := []string{"name", "type", "comments", "sync", "snapdev", "compression", "exec", "managedby", "quota_warning", "quota_critical",
		"refquota_warning", "refquota_critical", "reservation", "refreservation", "special_small_block_size", "copies", "snapdir",
		"deduplication", "checksum", "readonly", "share_type", "encryption_options", "encryption", "inherit_encryption", "user_properties",
		"create_ancestors", "aclmode", "acltype", "atime", "casesensitivity", "quota", "refquota", "recordsize", "force_size", "sparse",
		"volsize", "volblocksize", "user_properties_update"}
	snapshots := "pool.snapshot."
	if release == "25.04.2" {
		snapshots = "zfs.snapshot."
	}
	device := func(attributes object, fields ...string) strictCall {
		return strictCall{"vm.device.create", nil, object{"vm": 1, "attributes": attributes}, "attributes", "", fields}
	}
	return []strictCall{
		{"vm.create", nil, object{"name": "a", "memory": 512}, "", "name", vm},
		{"vm.update", []any{1}, object{}, "", "", vm},
		{"pool.dataset.create", nil, object{"name": "tank/a"}, "", "name", dataset},
		{"pool.dataset.create", nil, object{"name": "tank/a", "type": "VOLUME", "volsize": 1 << 20}, "", "name", dataset},
		{"pool.dataset.update", []any{"tank/v"}, object{}, "", "", dataset},
		{snapshots + "create", nil, object{"dataset": "tank", "name": "a"}, "", "name", []string{"dataset", "name", "recursive", "exclude", "vmware_sync", "suspend_vms", "properties", "naming_schema"}},
		{snapshots + "clone", nil, object{"snapshot": "tank/v@s", "dataset_dst": "tank/a"}, "", "dataset_dst", []string{"snapshot", "dataset_dst", "dataset_properties"}},
		{"vm.device.create", nil, object{"vm": 1, "attributes": object{"dtype": "NIC"}}, "", "", []string{"vm", "order", "attributes", "id"}},
		{"vm.device.update", []any{1}, object{}, "", "", []string{"vm", "order", "attributes"}},
		device(object{"dtype": "NIC"}, "dtype", "type", "mac", "nic_attach", "trust_guest_rx_filters", "pci_address", "mtu"),
		device(object{"dtype": "DISK", "path": "/dev/zvol/tank/v"}, "dtype", "path", "type", "create_zvol", "zvol_name", "zvol_volsize", "logical_sectorsize", "physical_sectorsize", "iotype", "serial"),
		device(object{"dtype": "DISPLAY", "password": "secret"}, "resolution", "port", "web_port", "bind", "wait", "password", "web", "type"),
		device(object{"dtype": "RAW", "path": "/mnt/tank/raw", "size": 1 << 20}, "path", "type", "exists", "boot", "size", "logical_sectorsize", "iotype", "serial"),
		{"filesystem.mkdir", nil, object{"path": "/mnt/tank/a"}, "", "path", []string{"path", "options", "mode"}},
		{"filesystem.setperm", nil, object{"path": "/mnt/tank"}, "", "", []string{"path", "uid", "user", "gid", "group", "mode", "options"}},
		{"vm.delete", []any{1}, object{}, "", "", []string{"zvols", "force", "x"}},
		{"pool.dataset.delete", []any{"tank/v"}, object{}, "", "", []string{"recursive", "force", "x"}},
	}
}
