package sim

import "testing"

// A tour of the query methods: each reply matches its model, in every release that has the method.
func TestReplies(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.furnish()
			for _, tt := range tour() {
				if m, ok := n.methods[tt.method]; !ok {
					continue
				} else if m.in(n.release) {
					n.must(nil, tt.method, tt.params...)
				}
			}
		})
	}
}

type visit struct {
	method string
	params []any
}

func tour() []visit {
	get := []any{[]any{}, object{"get": true}}
	with := func(extra object) []any { return []any{[]any{}, object{"extra": extra}} }
	return []visit{
		{"system.info", nil}, {"system.version", nil}, {"system.version_short", nil}, {"system.ready", nil},
		{"system.state", nil}, {"system.product_type", nil}, {"system.host_id", nil},
		{"interface.query", nil}, {"interface.query", get}, {"core.arp", []any{object{}}},
		{"pool.query", nil}, {"pool.query", get}, {"pool.get_instance", []any{1}},
		{"disk.query", nil}, {"disk.query", with(object{"pools": true})},
		{"pool.dataset.query", nil}, {"pool.dataset.query", with(object{"retrieve_user_props": true, "retrieve_children": false})},
		{"pool.dataset.get_instance", []any{"tank/vms/one/root"}}, {"pool.dataset.attachments", []any{"tank/vms"}},
		{"pool.dataset.snapshot_count", []any{"tank/vms/one/root"}}, {"pool.dataset.recommended_zvol_blocksize", []any{"tank"}},
		{"zfs.snapshot.query", nil}, {"pool.snapshot.query", nil}, {"pool.snapshot.query", []any{[]any{}, object{"limit": 10, "extra": object{"holds": true, "retention": true}}}},
		{"pool.snapshot.get_instance", []any{"tank/vms@a"}}, {"zfs.snapshot.get_instance", []any{"tank/vms@a"}},
		{"vm.query", nil}, {"vm.query", get}, {"vm.query", []any{[]any{}, object{"count": true}}}, {"vm.query", []any{[]any{}, object{"select": []any{"id", "name"}}}},
		{"vm.get_instance", []any{1}}, {"vm.status", []any{1}}, {"vm.get_available_memory", nil}, {"vm.get_vmemory_in_use", nil},
		{"vm.get_memory_usage", []any{1}}, {"vm.get_display_devices", []any{1}}, {"vm.get_console", []any{1}},
		{"vm.get_guest_network_interfaces", []any{1}}, {"vm.random_mac", nil}, {"vm.port_wizard", nil}, {"vm.supports_virtualization", nil},
		{"vm.virtualization_details", nil}, {"vm.maximum_supported_vcpus", nil}, {"vm.flags", nil}, {"vm.bootloader_options", nil},
		{"vm.bootloader_ovmf_choices", nil}, {"vm.cpu_model_choices", nil}, {"vm.resolution_choices", nil}, {"vm.guest_architecture_and_machine_choices", nil},
		{"vm.device.query", nil}, {"vm.device.query", get}, {"vm.device.get_instance", []any{1}}, {"vm.device.nic_attach_choices", nil},
		{"vm.device.disk_choices", nil}, {"vm.device.bind_choices", nil}, {"vm.device.iotype_choices", nil}, {"vm.device.usb_controller_choices", nil},
		{"filesystem.stat", []any{"/mnt/tank/vms/one"}}, {"filesystem.listdir", []any{"/mnt/tank/vms/one"}}, {"filesystem.stat", []any{"/mnt/tank/vms/one/seed.iso"}},
		{"filesystem.mkdir", []any{object{"path": "/mnt/tank/vms/one/folder"}}},
		{"filesystem.setperm", []any{object{"path": "/mnt/tank/vms/one/folder", "mode": "700"}}},
		{"vm.device.virtual_size", []any{object{"path": "/mnt/tank/vms/one/seed.iso"}}},
		{"vm.suspend", []any{1}}, {"vm.resume", []any{1}}, {"vm.reset", []any{1}}, {"vm.restart", []any{1}}, {"vm.poweroff", []any{1}},
		{"vm.clone", []any{1, "two"}}, {"vm.clone", []any{1, nil}}, {"vm.delete", []any{1}},
	}
}

// furnish makes a machine with one device of each common type and runs it.
func (n *direct) furnish() {
	n.t.Helper()
	n.must(nil, "pool.dataset.create", object{"name": "tank/vms/one", "create_ancestors": true, "user_properties": []any{object{"key": "test:owner", "value": "me"}}})
	n.must(nil, "pool.dataset.create", object{"name": "tank/vms/one/root", "type": "VOLUME", "volsize": 1 << 30, "sparse": true})
	n.must(nil, n.snapshots("create"), object{"dataset": "tank/vms", "name": "a", "recursive": true})
	n.must(nil, n.snapshots("hold"), "tank/vms@a")
	if err := n.WriteFile("/mnt/tank/vms/one/seed.iso", []byte("seed")); err != nil {
		n.t.Fatal(err)
	}
	n.must(nil, "vm.create", object{"name": "one", "memory": 512})
	for _, attributes := range []object{
		{"dtype": "DISK", "path": "/dev/zvol/tank/vms/one/root"},
		{"dtype": "CDROM", "path": "/mnt/tank/vms/one/seed.iso"},
		{"dtype": "NIC", "nic_attach": "br0"},
		{"dtype": "DISPLAY", "password": "secret"},
		{"dtype": "RAW", "path": "/mnt/tank/vms/one/raw.img", "size": 1 << 20},
	} {
		n.must(nil, "vm.device.create", object{"vm": 1, "attributes": attributes})
	}
	n.SetGuest("one", Guest{Agent: true, Addresses: []string{"192.0.2.10/24", "2001:db8::10/64"}})
	n.must(nil, "vm.start", 1)
}
