package server

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/bootorder"
	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// shutdownSeconds is the default time for a guest to shut down.
const shutdownSeconds = 90

// record returns the TrueNAS record of the VM. By default guests get the CPU of the NAS, since TrueNAS's default model lacks what
// current systems need (x86-64-v2), and a clock that shows UTC.
func (p *plan) record(ctx context.Context, nas *truenas.Client) (truenas.VMCreate, error) {
	awake := false
	vm := truenas.VMCreate{
		Name: p.name, Description: p.description(nil), UUID: p.id,
		MemoryMiB:  p.class.MemoryMiB,
		Bootloader: p.bootloader(), SecureBoot: p.class.SecureBoot, TPM: p.class.TPM,
		Autostart: true, EnsureDisplayDevice: true, ShutdownTimeout: p.shutdownTimeout(), SuspendOnSnapshot: &awake,
	}
	p.emulate(&vm)
	if !p.class.SecureBoot || p.release.AtLeast(truenas.R25_10) {
		return vm, nil
	}
	// Before 25.10 TrueNAS does not choose the firmware that checks signatures by itself.
	choices, err := nas.VMs.BootloaderOVMFChoices(ctx)
	if err != nil {
		return vm, err
	}
	if vm.BootloaderOVMF = secureFirmware(choices); vm.BootloaderOVMF == "" {
		return vm, refusal.FailedPrecondition("class_json.SecurityProfile.SecureBoot: the NAS has no firmware for it")
	}
	return vm, nil
}

// emulate writes the hardware of the class into the record of a new VM.
func (p *plan) emulate(vm *truenas.VMCreate) {
	t := p.class.Topology()
	vm.MachineType = p.class.Hardware.MachineType
	mode, clock := truenas.CPUHostPassthrough, truenas.ClockUTC
	vm.CPUMode, vm.Time = &mode, &clock
	if source := p.inherits; source != nil {
		vm.VMHardware = hardware.Inherit(*source)
		if !p.class.Hardware.HasTopology() && vmrecord.CPUs(*source) == p.class.CPUs {
			t = hardware.Arrangement(*source)
		}
		if vm.MachineType == "" && !p.class.SecureBoot {
			vm.MachineType = source.MachineType
		}
	}
	vm.VCPUs, vm.Cores, vm.Threads = int(t.Sockets), int(t.Cores), int(t.Threads)
	if vm.MachineType != "" {
		vm.ArchType = truenas.ArchX86
	}
	hardware.Compare(truenas.VM{}, p.class, &vm.VMHardware)
}

// shutdownTimeout returns the seconds for the guest to shut down.
func (p *plan) shutdownTimeout() int {
	if timeout := p.class.Hardware.ShutdownTimeout; timeout != 0 {
		return int(timeout)
	}
	return shutdownSeconds
}

func secureFirmware(choices []string) string {
	slices.Sort(choices)
	for _, name := range choices {
		if strings.Contains(name, "secboot") {
			return name
		}
	}
	return ""
}

// bootloader returns TrueNAS's name for the firmware; UEFI_CSM is its legacy BIOS.
func (p *plan) bootloader() string {
	if p.class.UEFI {
		return truenas.BootUEFI
	}
	return truenas.BootCSM
}

// adjustVM changes the record of a stopped VM to match the request. Only Reconfigure changes a running VM.
func (b *builder) adjustVM(ctx context.Context) error {
	update, changes, err := b.plan.adjustment()
	if err != nil || !changes {
		return err
	}
	if update.Description != nil { // The description holds the boot source, which another replica may have changed since.
		now, err := b.nas.VMs.Get(ctx, b.vm.ID)
		if err != nil {
			return err
		}
		description := b.plan.description(&now)
		update.Description = &description
	}
	b.vm, err = b.nas.VMs.Update(ctx, b.vm.ID, update)
	return err
}

// description returns the description with the mark, and with the boot source and the media of the current record, which is nil for
// a new VM. A once stays until a start uses it.
func (p *plan) description(record *truenas.VM) string {
	m := p.mark
	if record != nil {
		seen, _ := vmrecord.Mark(*record)
		m.Boot, m.Media = seen.Boot, seen.Media
	}
	m.Boot = bootorder.Parse(m.Boot).Ask(p.class.Hardware.Boot, "").String()
	return m.Describe()
}

// adjustment returns the changes of the existing record.
func (p *plan) adjustment() (update truenas.VMUpdate, changes bool, err error) {
	vm := *p.existing
	if vmrecord.Active(vm) {
		return update, false, nil
	}
	if vm.SecureBoot != p.class.SecureBoot {
		return update, false, refusal.FailedPrecondition("class_json.SecurityProfile.SecureBoot: VM %q has %t, and TrueNAS cannot change it; delete the VM first", p.mark.Name, vm.SecureBoot)
	}
	if description := p.description(&vm); vm.Description != description {
		update.Description, changes = &description, true
	}
	if err := hardware.OtherMachine(vm, p.class); err != nil {
		return update, false, err
	}
	if hardware.Rearranged(vm, p.class) {
		hardware.Arrange(&update, p.class)
		changes = true
	}
	if len(hardware.Compare(vm, p.class, &update.VMHardware)) > 0 {
		changes = true
	}
	if timeout := p.shutdownTimeout(); p.class.Hardware.ShutdownTimeout != 0 && vm.ShutdownTimeout != timeout {
		update.ShutdownTimeout, changes = &timeout, true
	}
	if vm.MemoryMiB != p.class.MemoryMiB {
		update.MemoryMiB, changes = &p.class.MemoryMiB, true
	}
	if loader := p.bootloader(); vm.Bootloader != loader {
		update.Bootloader, changes = &loader, true
	}
	if vm.TPM != p.class.TPM {
		update.TPM, changes = &p.class.TPM, true
	}
	return update, changes, nil
}

// complete reports whether the VM needs no change.
func (p *plan) complete() bool {
	if p.existing == nil || !p.exists || slices.ContainsFunc(p.places, func(b place) bool { return !b.exists }) || len(p.missing()) > 0 {
		return false
	}
	if vmrecord.Active(*p.existing) {
		return !p.reserves() && p.tuned() // The plan has refused all other differences.
	}
	_, changes, err := p.adjustment()
	return err == nil && !changes && len(p.duplicates) == 0 && len(p.surplus) == 0 && !p.grows() && !p.reserves() && !p.reseed() && p.mismatch() == nil && !p.duplicateNICs() && p.tuned() && p.diskDiffers() == nil && !p.otherDevice() && vmrecord.InOrder(*p.existing, p.volumes())
}

func (p *plan) duplicateNICs() bool { return vmrecord.HasDuplicateNICs(*p.existing) }

func (p *plan) grows() bool {
	return slices.ContainsFunc(p.disks, func(d plannedDisk) bool { return d.bytes > d.has })
}

func (p *plan) reserves() bool { return slices.ContainsFunc(p.disks, plannedDisk.reserves) }

// reseed reports whether the drive holds another seed than the requested one.
func (p *plan) reseed() bool {
	drive, ok := p.seedDrive()
	return p.seed != nil && ok && drive.Attributes.Path != p.seedPath
}

// missing names the missing parts of the VM, for users.
func (p *plan) missing() []string {
	var parts []string
	for _, d := range p.disks {
		if !p.attached(d) {
			parts = append(parts, "disk "+d.volume)
		}
	}
	for i, n := range p.nics {
		if _, ok := p.nicDevice(n); !ok {
			parts = append(parts, fmt.Sprintf("NIC %d", i))
		}
	}
	if d := p.lacksDevice(); d != nil {
		parts = append(parts, d.What)
	}
	for _, path := range p.missingCDROMs() {
		parts = append(parts, "CD-ROM "+path)
	}
	if _, ok := p.seedDrive(); p.seed != nil && !ok {
		parts = append(parts, "seed")
	}
	return parts
}

func (p *plan) attached(d plannedDisk) bool {
	_, ok := p.diskDevice(d)
	return ok
}

// nicDevice returns the NIC with the planned address.
func (p *plan) nicDevice(n nic) (truenas.Device, bool) {
	return p.device(func(have truenas.Device) bool { return vmrecord.MAC(have) == n.mac })
}

// seedDrive returns the CD-ROM drive with a seed of this provider, whether or not it is the requested seed.
func (p *plan) seedDrive() (truenas.Device, bool) {
	return p.device(func(have truenas.Device) bool {
		return have.Attributes.DType == truenas.DeviceCDROM && seedFile.MatchString(path.Base(have.Attributes.Path)) && strings.HasSuffix(path.Dir(have.Attributes.Path), "/"+p.dataset)
	})
}

func (p *plan) device(fits func(truenas.Device) bool) (truenas.Device, bool) {
	if p.existing == nil {
		return truenas.Device{}, false
	}
	i := slices.IndexFunc(p.existing.Devices, fits)
	if i < 0 {
		return truenas.Device{}, false
	}
	return p.existing.Devices[i], true
}
