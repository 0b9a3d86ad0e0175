package soak

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// view is a NAS's state with indexes.
type view struct {
	sim.State
	datasets map[string]sim.DatasetState
	vms      map[string]sim.VMState
}

func (w *world) look() view {
	v := view{w.nas.State(), map[string]sim.DatasetState{}, map[string]sim.VMState{}}
	for _, d := range v.Datasets {
		v.datasets[d.Name] = d
	}
	for _, vm := range v.VMs {
		v.vms[vm.Name] = vm
	}
	return v
}

// state returns the VM's state on the NAS.
func (k *worker) state(m *machine) string { return k.w.look().vms[m.onNAS()].State }

// check compares a VM with its expected state after an operation has ended.
func (k *worker) check(m *machine) {
	if k.w.stopped() {
		return
	}
	wrong := k.w.look().differs(m, false)
	if len(wrong) > 0 {
		k.violated("VM %s is not as it should be:\n  %s", m, strings.Join(wrong, "\n  "))
		return
	}
	k.checkContent(m)
}

// differs lists the differences of a VM. During faults, an export may have failed to remove its temporary objects.
func (v view) differs(m *machine, calm bool) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	vm, ok := v.vms[m.onNAS()]
	if !ok {
		return []string{"it is not on the NAS"}
	}
	if want := map[bool]string{true: "RUNNING", false: "STOPPED"}[m.on]; vm.State != want {
		say("it is %s, not %s", vm.State, want)
	}
	if got := fmt.Sprint(vm.Config["cores"], vm.Config["memory"], vm.Config["uuid"]); got != fmt.Sprint(m.cpus, m.memory, m.id) {
		say("it has cores, memory and id %s, not %v", got, []any{m.cpus, m.memory, m.id})
	}
	kinds := kindsOf(vm)
	var disks []string
	for _, volume := range m.volumes() {
		disks = append(disks, "/dev/zvol/"+volume)
	}
	if !slices.Equal(kinds["DISK"], disks) {
		say("its disks are %v, not %v", kinds["DISK"], disks)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(kinds["NIC"])))); n != m.nics || len(kinds["NIC"]) != m.nics {
		say("its NICs are %v, and there should be %d", kinds["NIC"], m.nics)
	}
	if seeds := map[bool]int{true: 1}[m.seed]; len(kinds["CDROM"]) != seeds {
		say("its drives are %v, and there should be %d", kinds["CDROM"], seeds)
	}
	return append(wrong, v.differentStorage(m, calm)...)
}

// kindsOf returns a VM's devices by kind, as paths or MAC addresses.
func kindsOf(vm sim.VMState) map[string][]string {
	kinds := map[string][]string{}
	for _, d := range vm.Devices {
		kind, _ := d.Attributes["dtype"].(string)
		what := d.Attributes["path"]
		if kind == "NIC" {
			what = d.Attributes["mac"]
		}
		kinds[kind] = append(kinds[kind], fmt.Sprint(what))
	}
	return kinds
}

func (v view) differentStorage(m *machine, calm bool) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, d := range m.disks() {
		have, ok := v.datasets[m.volume(d)]
		if !ok {
			say("volume %s is missing", m.volume(d))
		} else if d.gib > 0 && have.Size != int64(d.gib)*gib {
			say("volume %s has %d bytes, not %d GiB", have.Name, have.Size, d.gib)
		}
	}
	for _, tree := range append(m.trees(), m.home()) {
		for _, d := range v.Datasets {
			if strings.HasPrefix(d.Name, tree+"/") && !slices.Contains(m.volumes(), d.Name) && !m.besideDisks(d.Name) {
				say("dataset %s is none of its", d.Name)
			}
		}
	}
	if files, seeds := v.datasets[m.home()].Files, map[bool]int{true: 1}[m.seed]; len(files) != seeds {
		say("its dataset holds the files %v, and there should be %d", files, seeds)
	}
	var want, got []string
	for _, mark := range m.asked() {
		for _, volume := range mark.disks {
			want = append(want, volume+"@"+mark.name)
		}
	}
	for _, s := range v.Snapshots {
		volume, name, _ := strings.Cut(s.ID, "@")
		passing := strings.HasPrefix(name, "vrclone-") || !calm && strings.HasPrefix(name, "vrexport-")
		if slices.Contains(m.volumes(), volume) && !passing && !m.ofOthers(s.ID) {
			got = append(got, s.ID)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		say("its snapshots are %v, not %v", got, want)
	}
	return append(wrong, v.changedByHand(m)...)
}

// checkContent compares the beginning of the root disk with the last write.
func (k *worker) checkContent(m *machine) {
	content := make([]byte, 64)
	if _, err := k.w.nas.ReadVolume(m.volume(m.root), content, 0); err != nil {
		k.violated("the root disk of %s: %v", m.name, err)
		return
	}
	want := make([]byte, 64)
	copy(want, m.held)
	if m.held == heldByImage {
		content, want = content[:len(heldByImage)], want[:len(heldByImage)]
	}
	if string(content) != string(want) {
		k.violated("the root disk of %s begins with %q, not with %q", m, content, want)
	}
}

// describe compares the response of Describe with the expected state, which may appear only with the next event.
func (k *worker) describe(m *machine) {
	want := map[bool]string{true: "On", false: "Off"}[m.on]
	k.do("Describe of "+m.name, codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: m.id})
		switch {
		case err != nil:
			return err
		case !resp.GetExists():
			return fmt.Errorf("the VM exists, but is reported as absent")
		case resp.GetPowerState() != want:
			return errNotYet("power state " + resp.GetPowerState() + ", not " + want)
		}
		return nil
	})
	k.do("ListVMs of all", codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := idOf(ctx, client, m.name)
		return err
	})
}

// gone checks that a deleted VM left no objects.
func (k *worker) gone(m *machine, id string) {
	v := k.w.look()
	if vm, ok := v.vms[m.onNAS()]; ok {
		k.violated("the deleted VM %s still exists: %v", m.name, vm)
	}
	for _, d := range v.Datasets {
		if hasAny(d.Name, m.home(), root+"/imports/"+onNAS(m.name)) {
			k.violated("VM %s was deleted, but dataset %s still exists", m.name, d.Name)
		}
	}
	k.do("Describe after Delete of "+m.name, codes.OK, func(ctx context.Context, client providerv1.ProviderClient) error {
		resp, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: id})
		if err == nil && resp.GetExists() {
			err = errNotYet("it was deleted, and is reported as existing")
		}
		return err
	})
}

// watch checks the invariants until ctx ends.
func (w *world) watch(ctx context.Context) {
	for ctx.Err() == nil && !w.stopped() {
		began := time.Now()
		v := w.look()
		for _, wrong := range append(w.touched(v), v.broken()...) {
			w.violated("seed %d: %s", w.seed, wrong)
		}
		w.counted(w.counts, "look at the whole NAS")
		pause(ctx, afterLook(began, 100*time.Millisecond))
	}
}

// withoutInstallations removes the property in which providers record the installation of a shared dataset.
func withoutInstallations(user map[string]string) map[string]string {
	left := maps.Clone(user)
	maps.DeleteFunc(left, func(key, _ string) bool { return strings.HasPrefix(key, "virtrigaud:installation-") })
	return left
}

// touched lists changes to datasets, VMs and snapshots of other owners.
func (w *world) touched(v view) (wrong []string) {
	for _, d := range w.foreign.Datasets {
		have, ok := v.datasets[d.Name]
		if d.Name == root {
			have.User = withoutInstallations(have.User)
		}
		if !ok || fmt.Sprint(have) != fmt.Sprint(d) {
			wrong = append(wrong, fmt.Sprintf("dataset %s belongs to another owner, and was changed:\n  %v\n  %v", d.Name, d, have))
		}
	}
	for _, vm := range w.foreign.VMs {
		if have := v.vms[vm.Name]; fmt.Sprint(have) != fmt.Sprint(vm) {
			wrong = append(wrong, fmt.Sprintf("VM %s belongs to another owner, and was changed:\n  %v\n  %v", vm.Name, vm, have))
		}
	}
	snapshots := map[string]string{}
	for _, s := range v.Snapshots {
		snapshots[s.ID] = fmt.Sprint(s)
	}
	for _, s := range w.foreign.Snapshots {
		if snapshots[s.ID] != fmt.Sprint(s) {
			wrong = append(wrong, fmt.Sprintf("snapshot %s belongs to another owner, and was changed", s.ID))
		}
	}
	return wrong
}

// copies reports whether one of two VMs is a copy of the other from the web interface.
func copies(one, other string) bool {
	return strings.HasPrefix(one, other+"copy") || strings.HasPrefix(other, one+"copy")
}

// broken lists violated invariants of VMs: a disk without its volume, a duplicate UUID or name.
func (v view) broken() (wrong []string) {
	uuids, described := map[any]string{}, map[any]string{}
	for _, vm := range v.VMs {
		if was, ok := uuids[vm.Config["uuid"]]; ok {
			wrong = append(wrong, fmt.Sprintf("VMs %s and %s have one UUID", was, vm.Name))
		}
		if was, ok := described[vm.Config["description"]]; ok && vm.Config["description"] != "" && !copies(was, vm.Name) {
			wrong = append(wrong, fmt.Sprintf("VMs %s and %s have one name and owner", was, vm.Name))
		}
		uuids[vm.Config["uuid"]], described[vm.Config["description"]] = vm.Name, vm.Name
		disks := kindsOf(vm)["DISK"]
		for i, path := range disks {
			// Delete removes the disks of a stopped VM before its record. The worker of the VM checks the end state.
			if _, ok := v.datasets[strings.TrimPrefix(path, "/dev/zvol/")]; !ok && vm.State == "RUNNING" {
				wrong = append(wrong, fmt.Sprintf("VM %s has disk %s, whose volume is missing", vm.Name, path))
			}
			if slices.Contains(disks[:i], path) {
				wrong = append(wrong, fmt.Sprintf("VM %s has disk %s twice", vm.Name, path))
			}
		}
	}
	return wrong
}
