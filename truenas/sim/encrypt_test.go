package sim

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// Datasets below an encrypted dataset have its key and cannot be unencrypted.
func TestEncryptionIsInherited(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.must(nil, "pool.dataset.create", object{"name": "tank/secret", "encryption": true, "inherit_encryption": false, "encryption_options": object{"passphrase": "correct horse"}})
			n.volume("tank/secret/vms/one/root", 1<<30, nil)
			n.must(nil, n.snapshots("create"), object{"dataset": "tank/secret/vms/one/root", "name": "s"})
			n.must(nil, n.snapshots("clone"), object{"snapshot": "tank/secret/vms/one/root@s", "dataset_dst": "tank/copy"})
			for _, name := range []string{"tank/secret/vms/one/root", "tank/copy"} {
				var d struct {
					Encrypted, Locked bool
					Root              string                  `json:"encryption_root"`
					KeyLoaded         bool                    `json:"key_loaded"`
					Format            struct{ Parsed string } `json:"key_format"`
				}
				n.must(&d, "pool.dataset.get_instance", name)
				if !d.Encrypted || d.Locked || d.Root != "tank/secret" || !d.KeyLoaded || d.Format.Parsed != "passphrase" {
					t.Errorf("%s shows %+v", name, d)
				}
			}
			n.fails(eINVAL, "Cannot create an unencrypted dataset within an encrypted dataset (tank/secret).", "pool.dataset.create", object{"name": "tank/secret/plain", "inherit_encryption": false})
			n.fails(eINVAL, "Passphrase encrypted datasets cannot have children encrypted with a key.", "pool.dataset.create",
				object{"name": "tank/secret/key", "encryption": true, "inherit_encryption": false, "encryption_options": object{"generate_key": true}})
		})
	}
}

// Rule 5: with properties selected by name, the encryption fields exist only if one of the properties is about encryption.
func TestEncryptionIsShownWhenRequested(t *testing.T) {
	for _, release := range []string{"25.10", "26", "27"} {
		n := newDirect(t, release)
		for _, tt := range []struct {
			properties []any
			want       bool
		}{{[]any{"used"}, false}, {[]any{}, false}, {[]any{"used", "encryption"}, true}} {
			var rows []object
			n.must(&rows, "pool.dataset.query", []any{[]any{"id", "=", "tank"}}, object{"extra": object{"properties": tt.properties}})
			if _, ok := rows[0]["locked"]; ok != tt.want {
				t.Errorf("%s: with properties %v the row is %v", release, tt.properties, rows[0])
			}
		}
	}
}

// A locked dataset has no files, no devices and accepts no new children, but can be destroyed.
func TestLockedDatasets(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.must(nil, "pool.dataset.create", object{"name": "tank/secret"})
			n.volume("tank/secret/root", 1<<30, nil)
			if err := n.WriteFile("/mnt/tank/secret/seed.iso", []byte("x")); err != nil {
				t.Fatal(err)
			}
			id := n.newVM("one", nil)
			n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/tank/secret/root"})
			for _, err := range []error{n.Encrypt("tank/secret", true), n.SetLocked("tank/secret", true)} {
				if err != nil {
					t.Fatal(err)
				}
			}
			n.fails(eINVAL, "tank/secret must be unlocked to create tank/secret/new.", "pool.dataset.create", object{"name": "tank/secret/new"})
			n.fails(eNOENT, "not found", "filesystem.stat", "/mnt/tank/secret/seed.iso")
			if err := n.put("/mnt/tank/secret/late", strings.NewReader("x"), object{}); errnoOf(err) != eINVAL {
				t.Errorf("an upload into it returns %v", err)
			}
			n.fails(eFAULT, "available", "vm.start", id)
			if err := n.SetLocked("tank/secret", false); err != nil {
				t.Fatal(err)
			}
			n.must(nil, "vm.start", id)
			if err := n.SetLocked("tank/secret", true); err == nil {
				t.Error("the key was unloaded although a running VM uses it")
			}
		})
	}
}

// An unlock starts the VMs with autostart that have a disk in the dataset, except those with another locked disk.
func TestUnlockStartsMachines(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			for _, name := range []string{"tank/secret", "tank/other", "tank/plain"} {
				n.must(nil, "pool.dataset.create", object{"name": name})
			}
			disks := map[string][]string{"on": {"tank/secret/on"}, "off": {"tank/secret/off"}, "both": {"tank/secret/both", "tank/other/both"}, "plain": {"tank/plain/disk"}}
			for name, volumes := range disks {
				id := n.newVM(name, object{"autostart": name != "off"})
				for _, volume := range volumes {
					n.volume(volume, 1<<30, nil)
					n.device(id, object{"dtype": "DISK", "path": "/dev/zvol/" + volume})
				}
			}
			for _, name := range []string{"tank/secret", "tank/other"} {
				if err := errors.Join(n.Encrypt(name, true), n.SetLocked(name, true)); err != nil {
					t.Fatal(err)
				}
			}
			running := func() string {
				var names []string
				for _, m := range n.VMs() {
					if m.State == "RUNNING" {
						names = append(names, m.Name)
					}
				}
				slices.Sort(names)
				return strings.Join(names, " ")
			}
			for _, step := range []struct{ unlock, want string }{{"tank/secret", "on"}, {"tank/other", "both on"}} {
				if err := n.Unlock(step.unlock); err != nil {
					t.Fatal(err)
				}
				if got := running(); got != step.want {
					t.Errorf("after the unlock of %s: %q are running, want %q", step.unlock, got, step.want)
				}
			}
		})
	}
}

// Rule 11: a replication to below an encrypted dataset requires encryption.
func TestReplicationBelowAnEncryptedDataset(t *testing.T) {
	for _, release := range []string{"25.10", "26", "27"} {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.volume("tank/v", 1<<30, nil)
			n.must(nil, "pool.snapshot.create", object{"dataset": "tank/v", "name": "s"})
			n.must(nil, "pool.dataset.create", object{"name": "tank/secret"})
			if err := n.Encrypt("tank/secret", false); err != nil {
				t.Fatal(err)
			}
			job := object{"direction": "PUSH", "transport": "LOCAL", "source_datasets": []any{"tank/v"}, "target_dataset": "tank/secret/deep/v",
				"recursive": false, "retention_policy": "NONE", "name_regex": "s", "readonly": "IGNORE", "properties": false}
			n.fails(eFAULT, "Refusing to transfer source dataset 'tank/v'", "replication.run_onetime", job)
			job["properties"] = true
			n.fails(eFAULT, "Refusing to transfer unencrypted source dataset 'tank/v'", "replication.run_onetime", job)
			job["encryption"], job["encryption_inherit"] = true, true
			n.must(nil, "replication.run_onetime", job) // Rule 28: it makes the missing parent.
			var d struct{ Encrypted bool }
			n.must(&d, "pool.dataset.get_instance", "tank/secret/deep/v")
			if !d.Encrypted {
				t.Error("the copy is not encrypted")
			}
			n.must(nil, "replication.run_onetime", job) // The target is up to date.
		})
	}
}
