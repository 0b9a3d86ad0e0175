package soak

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// These operations change a VM of the provider from outside, as administrators and other software on the NAS do: snapshots and
// holds of periodic snapshot and replication tasks, a copy from the web interface, an edited description. They do not affect the
// provider's operations, and the provider does not modify their results.

// byHand is the objects of other clients beside one VM.
type byHand struct {
	snapshots []string // of its volumes, as "volume@name"
	held      bool     // all of them have holds
	taken     int      // machine.moment at the newest one
	aside     string   // the snapshot of a revert that kept these snapshots; a volume that was set aside depends on it
	copied    string   // name of the copy from the web interface
	copyWas   string   // the initial state of the copy
	volumes   []string // of the copy
}

// guarded reports whether a Delete of the VM must be refused, because it would destroy objects that other clients need.
func (h *byHand) guarded() bool { return h.held || h.copied != "" }

// editByHand changes the description, which users may edit.
func (k *worker) editByHand(m *machine) {
	description := ""
	if k.random.IntN(2) == 0 {
		description = "edited for " + m.name
	}
	if err := k.w.nas.EditDescription(m.onNAS(), description); err != nil {
		k.violated("%v", err)
		return
	}
	k.describe(m)
	k.check(m)
}

// takeByHand takes a snapshot of every disk, as a periodic task does.
func (k *worker) takeByHand(m *machine) {
	m.moment++
	name := fmt.Sprintf("auto-%d", m.moment)
	for _, volume := range m.volumes() {
		if err := k.w.nas.AddSnapshot(volume + "@" + name); err != nil {
			k.violated("%v", err)
			return
		}
		m.byHand.snapshots = append(m.byHand.snapshots, volume+"@"+name)
	}
	m.byHand.taken = m.moment
	k.do("SnapshotDelete of another's of "+m.name, codes.FailedPrecondition, func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: m.id, SnapshotId: name})
		return err
	})
	k.check(m)
}

// holdByHand puts a hold on the snapshots, as a replication task does, or releases it.
func (k *worker) holdByHand(m *machine) {
	k.hold(m, !m.byHand.held)
	k.check(m)
}

func (k *worker) hold(m *machine, held bool) {
	if len(m.byHand.snapshots) == 0 {
		return
	}
	v := k.w.look()
	for _, id := range m.byHand.snapshots {
		if at, ok := v.snapshotNow(id); ok {
			if err := k.w.nas.SetHeld(at, held); err != nil {
				k.violated("%v", err)
			}
		}
	}
	m.byHand.held = held
}

// copyByHand clones the VM in the web interface, which copies the description. The provider does not own the copy.
func (k *worker) copyByHand(m *machine) {
	if m.byHand.copied != "" {
		k.dropCopy(m)
		k.check(m)
		return
	}
	m.moment++
	name := fmt.Sprintf("%scopy%d", m.onNAS(), m.moment)
	if err := k.w.nas.CloneVM(m.onNAS(), name); err != nil {
		k.violated("%v", err)
		return
	}
	v := k.w.look()
	vm := v.vms[name]
	m.byHand.copied, m.byHand.copyWas = name, fmt.Sprint(vm)
	for _, path := range kindsOf(vm)["DISK"] {
		volume := strings.TrimPrefix(path, "/dev/zvol/")
		m.byHand.volumes = append(m.byHand.volumes, volume)
		m.byHand.snapshots = append(m.byHand.snapshots, v.datasets[volume].Origin)
	}
	m.byHand.taken = m.moment
	if m.byHand.held {
		k.hold(m, true)
	}
	k.do("Delete of the copy of "+m.name, codes.FailedPrecondition, func(ctx context.Context, client providerv1.ProviderClient) error {
		id, err := idOf(ctx, client, name)
		if err == nil {
			_, err = client.Delete(ctx, &providerv1.DeleteRequest{Id: id})
		}
		return err
	})
	k.check(m)
}

// dropCopy deletes the copy in the web interface.
func (k *worker) dropCopy(m *machine) {
	if m.byHand.copied == "" {
		return
	}
	if err := k.w.nas.RemoveVM(m.byHand.copied); err != nil {
		k.violated("%v", err)
	}
	m.byHand.copied, m.byHand.copyWas, m.byHand.volumes = "", "", nil
}

// refuseDelete deletes a VM on which objects of other clients depend. The deletion must be refused without changes. Then it
// removes those objects.
func (k *worker) refuseDelete(m *machine) {
	if !m.byHand.guarded() {
		return
	}
	k.do("Delete of a VM that others need of "+m.name, codes.FailedPrecondition, func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: m.id})
		return err
	})
	k.check(m)
	k.dropCopy(m)
	k.hold(m, false)
}

// snapshotNow returns the current id of another client's snapshot: a revert may have set the volume aside together with it.
func (v view) snapshotNow(id string) (string, bool) {
	volume, name, _ := strings.Cut(id, "@")
	for _, s := range v.Snapshots {
		at, has, _ := strings.Cut(s.ID, "@")
		if has == name && (at == volume || strings.HasPrefix(at, volume+"-aside-")) {
			return s.ID, true
		}
	}
	return "", false
}

// changedByHand lists objects of other clients that are missing or changed.
func (v view) changedByHand(m *machine) (wrong []string) {
	for _, id := range m.byHand.snapshots {
		if _, ok := v.snapshotNow(id); !ok {
			wrong = append(wrong, fmt.Sprintf("snapshot %s of others was destroyed", id))
		}
	}
	if name := m.byHand.copied; name != "" && fmt.Sprint(v.vms[name]) != m.byHand.copyWas {
		wrong = append(wrong, fmt.Sprintf("copy %s was changed:\n  %s\n  %v", name, m.byHand.copyWas, v.vms[name]))
	}
	for _, volume := range m.byHand.volumes {
		if _, ok := v.datasets[volume]; !ok {
			wrong = append(wrong, fmt.Sprintf("volume %s of copy %s was destroyed", volume, m.byHand.copied))
		}
	}
	return wrong
}

// ofOthers reports whether a snapshot was made by other clients of the VM, even if its volume was moved.
func (m *machine) ofOthers(snapshot string) bool {
	at, name, _ := strings.Cut(snapshot, "@")
	if _, asked := m.marked(name); asked && slices.Contains(m.byHand.volumes, at) {
		return true // SnapshotCreate takes one snapshot of everything below the VM's dataset.
	}
	volume, _, _ := strings.Cut(at, "-aside-")
	return slices.Contains(m.byHand.snapshots, volume+"@"+name)
}

// besideDisks reports whether a dataset among the VM's disks belongs to other clients: a volume of the copy, or one that a revert
// set aside with their snapshots.
func (m *machine) besideDisks(dataset string) bool {
	volume, _, aside := strings.Cut(dataset, "-aside-")
	return slices.Contains(m.byHand.volumes, dataset) || aside && m.byHand.aside != "" && slices.Contains(m.volumes(), volume)
}
