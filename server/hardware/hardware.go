package hardware

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// Fit refuses settings that this NAS does not support. existing is the VM that has them already, or nil.
func Fit(ctx context.Context, nas *truenas.Client, c spec.Class, existing *truenas.VM) error {
	if err := c.Hardware.Supported(releaseOf(nas.Release())); err != nil {
		return spec.HardwareError(err)
	}
	if err := checkBind(ctx, nas, c.Hardware.DisplayBind); err != nil {
		return err
	}
	var g errgroup.Group
	if model := c.Hardware.CPUModel; model != "" && (existing == nil || existing.CPUModel != model) {
		g.Go(func() error { return oneOf(ctx, "cpu_model", model, nas.VMs.CPUModels) })
	}
	if machine := c.Hardware.MachineType; machine != "" && existing == nil {
		g.Go(func() error { return oneOf(ctx, "machine_type", machine, nas.VMs.MachineTypes) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if machine := c.Hardware.MachineType; c.SecureBoot && machine != "" && !strings.Contains(machine, "q35") {
		return refusal.InvalidArgument(spec.HardwareField("machine_type"), "%q; secure boot needs a q35 machine, such as pc-q35-8.2", machine)
	}
	return nil
}

// oneOf refuses a value that the NAS does not list.
func oneOf(ctx context.Context, name, value string, choices func(context.Context) ([]string, error)) error {
	list, err := choices(ctx)
	if err != nil || slices.Contains(list, value) {
		return err
	}
	return refusal.InvalidArgument(spec.HardwareField(name), "%q; the NAS offers %s", value, strings.Join(list, ", "))
}

// releaseOf returns a release in the form of the table of settings.
func releaseOf(r truenas.Release) settings.Release {
	known := map[truenas.Release]settings.Release{truenas.R25_04_2: {25, 4, 2}, truenas.R25_10: {25, 10}, truenas.R26: {26}, truenas.R27: {27}}
	return known[r]
}

// Compare lists the settings of the VM's record in which a VM differs from its class, and sets the differing fields of the
// update. The zero VM is a new one. Compare ignores settings that the class omits.
func Compare(vm truenas.VM, c spec.Class, update *truenas.VMHardware) []Difference {
	v := c.Hardware
	list := differences{}
	list.text("cpu_mode", vm.CPUMode, NASWord(v.CPUMode), &update.CPUMode)
	list.text("cpuset", vm.CPUSet, v.CPUSet, &update.CPUSet)
	list.text("nodeset", vm.NodeSet, v.NodeSet, &update.NodeSet)
	list.text("clock", vm.Time, NASWord(v.Clock), &update.Time)
	list.onOff("cpu_topology_extension", vm.CPUTopology, v.TopologyExtension, &update.CPUTopology)
	list.onOff("pin_vcpus", vm.PinVCPUs, v.PinVCPUs, &update.PinVCPUs)
	list.onOff("hide_from_msr", vm.HideFromMSR, v.HideFromMSR, &update.HideFromMSR)
	list.onOff("hyperv_enlightenments", vm.HyperVEnlightenment, v.HyperV, &update.HyperVEnlightenment)
	if v.CPUMode != "" && vm.CPUModel != v.CPUModel {
		list.add("cpu_model", vm.CPUModel, v.CPUModel)
		model := &v.CPUModel
		if v.CPUModel == "" {
			model = nil // Only a custom CPU has a model.
		}
		update.CPUModel = &model
	}
	return list
}

// differences are the settings in which a VM differs from its class.
type differences []Difference

func (l *differences) add(name, have, want string) {
	*l = append(*l, Difference{spec.HardwareField(name), orNone(have), orNone(want)})
}

func (l *differences) text(name, have, want string, to **string) {
	if want != "" && have != want {
		l.add(name, have, want)
		*to = &want
	}
}

func (l *differences) onOff(name string, have bool, want *bool, to **bool) {
	if want != nil && have != *want {
		l.add(name, fmt.Sprint(have), fmt.Sprint(*want))
		*to = want
	}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// NASWord returns the value of a choice in TrueNAS's spelling.
func NASWord(choice string) string { return strings.ToUpper(choice) }

// Rearranged reports whether the class arranges the CPUs of a VM in another way.
func Rearranged(vm truenas.VM, c spec.Class) bool {
	if !c.Hardware.HasTopology() {
		return vmrecord.CPUs(vm) != c.CPUs
	}
	return Arrangement(vm) != c.Topology()
}

// Arrangement returns the sockets, cores and threads of a VM.
func Arrangement(vm truenas.VM) settings.Topology {
	return settings.Topology{Sockets: int64(vm.VCPUs), Cores: int64(vm.Cores), Threads: int64(vm.Threads)}
}

// Arrange writes the CPUs of the class into an update.
func Arrange(update *truenas.VMUpdate, c spec.Class) {
	t := c.Topology()
	sockets, cores, threads := int(t.Sockets), int(t.Cores), int(t.Threads)
	update.VCPUs, update.Cores, update.Threads = &sockets, &cores, &threads
}

// OtherMachine refuses to change the emulated machine of a VM, because its guest may not boot on another one.
func OtherMachine(vm truenas.VM, c spec.Class) error {
	if want := c.Hardware.MachineType; want != "" && want != vm.MachineType {
		return refusal.FailedPrecondition("%s: VM %q has %s, not %s; it cannot be changed", spec.HardwareField("machine_type"), vmrecord.Name(vm), orNone(vm.MachineType), want)
	}
	return nil
}

// Of lists the non-default hardware settings of a VM's record, as text.
func Of(vm truenas.VM) []string {
	plain := truenas.VM{CPUMode: truenas.CPUHostPassthrough, Time: truenas.ClockUTC}
	texts := func(vm truenas.VM) map[string]string {
		return map[string]string{
			"cpu_mode": vm.CPUMode, "cpu_model": vm.CPUModel, "cpuset": vm.CPUSet, "nodeset": vm.NodeSet, "clock": vm.Time, "machine_type": vm.MachineType,
			"cpu_topology_extension": fmt.Sprint(vm.CPUTopology), "pin_vcpus": fmt.Sprint(vm.PinVCPUs),
			"hide_from_msr": fmt.Sprint(vm.HideFromMSR), "hyperv_enlightenments": fmt.Sprint(vm.HyperVEnlightenment),
		}
	}
	usual, has := texts(plain), texts(vm)
	if t := Arrangement(vm); t.Sockets > 1 || t.Threads > 1 {
		has["topology"] = fmt.Sprint(t.Sockets, " × ", t.Cores, " × ", t.Threads)
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if has[name] != usual[name] {
			list = append(list, name+"="+has[name])
		}
	}
	return list
}

// Inherit returns the hardware of a VM, for its clone.
func Inherit(vm truenas.VM) truenas.VMHardware {
	h := truenas.VMHardware{
		CPUMode: &vm.CPUMode, CPUTopology: &vm.CPUTopology, PinVCPUs: &vm.PinVCPUs,
		HideFromMSR: &vm.HideFromMSR, HyperVEnlightenment: &vm.HyperVEnlightenment, Time: &vm.Time,
	}
	if model := &vm.CPUModel; vm.CPUModel != "" {
		h.CPUModel = &model
	}
	if vm.CPUSet != "" {
		h.CPUSet = &vm.CPUSet
	}
	if vm.NodeSet != "" {
		h.NodeSet = &vm.NodeSet
	}
	return h
}
