package server

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"virtrigaud-provider-truenas/server/bootorder"
	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// bootChoice is the requested boot source: for all starts, and for the next start only.
type bootChoice struct{ always, once string }

// setBootSource records the requested boot source of a VM. The record comes before the devices, because a start puts the devices in order
// again. A request that the VM meets already makes one call, because a manager repeats its class at each reconcile: the call looks
// for the lock of a replica that is changing the boot order, or that died during the change and left the lock behind. A once is a
// request for the next start, so setBootSource compares it with the NAS as well.
func (s *Server) setBootSource(ctx context.Context, vm truenas.VM, want bootChoice) (err error) {
	if want == (bootChoice{}) {
		return nil
	}
	if vm, err = s.inventory.Get(ctx, vm.UUID); err != nil {
		return err
	}
	if s.bootsAs(vm, want) {
		changing, err := s.leases.Locked(ctx, s.home(vm))
		if err == nil && !changing && want.once != "" { // The guest may have booted the cached once already.
			vm, err = s.inventory.Read(ctx, vm.UUID)
		}
		if err != nil || !changing && s.bootsAs(vm, want) {
			return err
		}
	}
	release, err := s.lockBoot(ctx, vm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	vm, err = s.inventory.Read(ctx, vm.UUID)
	if err != nil {
		return err
	}
	if vm, err = s.resolveBoot(ctx, vm); err != nil {
		return err
	}
	record := s.bootRecord(vm)
	next := record.Ask(want.always, want.once)
	if err := cmp.Or(s.checkBootSource(ctx, vm, next.Always), s.checkBootSource(ctx, vm, next.Once)); err != nil {
		return err
	}
	if next != record {
		if vm, err = s.noteBootRecord(ctx, vm, next, nil); err != nil {
			return err
		}
	}
	_, err = s.arrange(ctx, vm, next.Rest())
	return err
}

// bootsAs reports whether the record of a VM and the order of its devices meet a request already.
func (s *Server) bootsAs(vm truenas.VM, want bootChoice) bool {
	record := s.bootRecord(vm)
	return record.Fired == "" && record.Ask(want.always, want.once) == record && s.arranged(vm, record.Rest()) == nil
}

// checkBootSource refuses a source that the VM or the NAS does not have.
func (s *Server) checkBootSource(ctx context.Context, vm truenas.VM, source string) error {
	switch _, has := s.drive(vm, source); {
	case source == bootorder.Network && s.cfg.NetworkBootISO == "":
		return refusal.FailedPrecondition("VM %q cannot boot the network: network.boot_iso is not set", vmrecord.Name(vm))
	case source == bootorder.Network && !has:
		// Without the role for Stat, a missing file makes the creation of the drive fail.
		if _, err := s.nas.Files.Stat(ctx, s.cfg.NetworkBootISO); !errors.Is(err, truenas.ErrPermission) {
			return s.absentBootISO(vm, err)
		}
	case source == bootorder.CDROM && !has:
		return refusal.FailedPrecondition("VM %q has no CD-ROM to boot", vmrecord.Name(vm))
	}
	return nil
}

// absentBootISO refuses network boot by a file that does not exist. Without this check the caller would read that the VM was not
// found.
func (s *Server) absentBootISO(vm truenas.VM, err error) error {
	if errors.Is(err, truenas.ErrNotFound) {
		return refusal.FailedPrecondition("VM %q cannot boot the network: network.boot_iso is %s, which is not on the NAS", vmrecord.Name(vm), s.cfg.NetworkBootISO)
	}
	return err
}

// checkNetworkBoot refuses a class with network boot when the configuration names no image for it.
func (s *Server) checkNetworkBoot(c spec.Class) error {
	if c.Hardware.Boot == bootorder.Network && s.cfg.NetworkBootISO == "" {
		return refusal.FailedPrecondition("%s%sboot: network boot needs the setting network.boot_iso", spec.ExtraField, settings.Prefix)
	}
	return nil
}

// bootRecord returns the recorded boot source of a VM. A VM that this provider did not make has the zero record.
func (s *Server) bootRecord(vm truenas.VM) bootorder.Record {
	m, _ := s.marks.Of(vm)
	return bootorder.Parse(m.Boot)
}

// noteBootRecord writes a record into the VM's description and sets autostart unless that is nil, in one
// call.
func (s *Server) noteBootRecord(ctx context.Context, vm truenas.VM, r bootorder.Record, autostart *bool) (truenas.VM, error) {
	return s.noteMark(ctx, vm, func(m *spec.Mark) { m.Boot = r.String() }, autostart)
}

// noteMark changes the mark in the VM's description and sets autostart unless that is nil, in one call.
func (s *Server) noteMark(ctx context.Context, vm truenas.VM, change func(*spec.Mark), autostart *bool) (truenas.VM, error) {
	description, err := s.describedAs(vm, change)
	if err != nil {
		return vm, err
	}
	before := s.inventory.Mark()
	if _, err := s.nas.VMs.Update(ctx, vm.ID, truenas.VMUpdate{Description: &description, Autostart: autostart}); err != nil {
		return vm, err
	}
	vm.Description = description
	if autostart != nil {
		vm.Autostart = *autostart
	}
	s.inventory.Put(vm, before)
	return vm, nil
}

// describedAs returns the description of a VM after a change of its mark.
func (s *Server) describedAs(vm truenas.VM, change func(*spec.Mark)) (string, error) {
	m, ours := s.marks.Of(vm)
	if !ours {
		return "", refusal.FailedPrecondition("VM %q was not made by this provider; its description is not changed", vmrecord.Name(vm))
	}
	text, _, _ := strings.Cut(vm.Description, spec.MarkStart)
	change(&m)
	return m.DescribeAs(cmp.Or(strings.TrimSpace(text), m.Name)), nil
}

// resolveBoot finds out whether an interrupted start used its once, and takes the remaining steps of that start.
func (s *Server) resolveBoot(ctx context.Context, vm truenas.VM) (truenas.VM, error) {
	record := s.bootRecord(vm)
	if record.Fired == "" {
		return vm, nil
	}
	evidence, err := s.evidence(ctx, vm)
	if err != nil {
		return vm, err
	}
	resolved := record.Resolve(vmrecord.Active(vm), evidence)
	if vm, err = s.arrange(ctx, vm, resolved.Rest()); err != nil {
		return vm, err
	}
	var autostart *bool
	if on := vmrecord.Active(vm); on {
		autostart = &on
	}
	return s.noteBootRecord(ctx, vm, resolved, autostart)
}

// evidence returns a value that changes with each start of a VM: the size of the log that libvirt writes for it.
func (s *Server) evidence(ctx context.Context, vm truenas.VM) (string, error) {
	name := strconv.FormatInt(vm.ID, 10) + "_" + vm.Name
	if s.nas.Release().AtLeast(truenas.R26) {
		name = vm.UUID
	}
	info, err := s.nas.Files.Stat(ctx, "/var/log/libvirt/qemu/"+name+".log")
	switch {
	case errors.Is(err, truenas.ErrNotFound):
		return "0", nil // It was never started.
	case errors.Is(err, truenas.ErrPermission):
		return bootorder.Unproven, nil
	}
	return strconv.FormatInt(info.Size, 10), err
}

// drive returns the CD-ROM drive of a boot source.
func (s *Server) drive(vm truenas.VM, source string) (truenas.Device, bool) {
	record := s.mediaRecord(vm)
	var first truenas.Device
	has := false
	for _, d := range inBootOrder(vm) {
		isNetwork := d.Attributes.Path == s.cfg.NetworkBootISO
		switch {
		case !drives(d) || source == bootorder.Disk || isNetwork != (source == bootorder.Network) || record.Leaves(d.Attributes.Path):
		case d.Attributes.Path == record.Path:
			return d, true // Ahead of a drive that Create made.
		case !has:
			first, has = d, true
		}
	}
	return first, has
}

// bootable returns the boot source that a VM can use for a permanent choice: the disk when the CD-ROM drive is missing, as on any
// machine.
func (s *Server) bootable(vm truenas.VM, source string) string {
	if _, has := s.drive(vm, source); source == bootorder.CDROM && !has {
		return bootorder.Disk
	}
	return source
}

// drives reports whether a device is a CD-ROM drive without a seed.
func drives(d truenas.Device) bool {
	return d.Attributes.DType == truenas.DeviceCDROM && !strings.Contains(d.Attributes.Path, "/seed-")
}

// inBootOrder returns the bootable devices in boot order.
func inBootOrder(vm truenas.VM) []truenas.Device {
	list := slices.DeleteFunc(slices.Clone(vm.Devices), func(d truenas.Device) bool {
		return d.Attributes.DType != truenas.DeviceDisk && d.Attributes.DType != truenas.DeviceRaw && !drives(d)
	})
	slices.SortStableFunc(list, func(a, b truenas.Device) int { return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ID, b.ID)) })
	return list
}

// arrange puts the drive of a source before the disks, and the other drives behind them. It creates the drive for network boot when
// the source is the network, and otherwise removes it from a stopped VM: a VM with an empty disk must not boot from the network.
func (s *Server) arrange(ctx context.Context, vm truenas.VM, source string) (truenas.VM, error) {
	source = s.bootable(vm, source)
	wanted, has := s.drive(vm, source)
	changed := false
	for _, d := range inBootOrder(vm) {
		var err error
		switch front := orderOf(vm, d) < firstDisk(vm); {
		case !drives(d) || has && d.ID == wanted.ID:
			continue
		case d.Attributes.Path == s.cfg.NetworkBootISO && !vmrecord.Active(vm):
			err = destroy.Device(ctx, s.nas, d.ID)
		case front:
			last := 1 + slices.MaxFunc(vm.Devices, func(a, b truenas.Device) int { return a.Order - b.Order }).Order
			_, err = s.nas.Devices.Update(ctx, d.ID, truenas.DeviceUpdate{Order: &last})
		default:
			continue
		}
		if err != nil {
			return vm, err
		}
		changed = true
	}
	switch order := frontOf(vm); {
	case source == bootorder.Network && !has:
		changed = true
		if _, err := s.nas.Devices.Create(ctx, truenas.DeviceCreate{VM: vm.ID, Order: order, Attributes: truenas.CDROM(s.cfg.NetworkBootISO)}); err != nil && !errors.Is(err, truenas.ErrExists) {
			return vm, s.absentBootISO(vm, err)
		}
	case has && orderOf(vm, wanted) > 0:
		changed = true
		if _, err := s.nas.Devices.Update(ctx, wanted.ID, truenas.DeviceUpdate{Order: &order}); err != nil {
			return vm, err
		}
	}
	if !changed {
		return vm, nil
	}
	vm, err := s.inventory.Read(ctx, vm.UUID)
	if err != nil {
		return vm, err
	}
	return vm, s.arranged(vm, source)
}

// arranged checks the order of a VM's devices against the request, because a start in another order would lose a once or boot it
// twice.
func (s *Server) arranged(vm truenas.VM, source string) error {
	source = s.bootable(vm, source)
	list := inBootOrder(vm)
	drive, has := s.drive(vm, source)
	switch {
	case source == bootorder.Disk && (len(list) == 0 || !drives(list[0]) || firstDisk(vm) == len(list)):
		return nil
	case source != bootorder.Disk && has && list[0].ID == drive.ID:
		return nil
	}
	return refusal.Aborted("the devices of VM %q are not in the order to boot the %s; retry", vmrecord.Name(vm), source)
}

// orderOf returns the position of a device among the bootable devices.
func orderOf(vm truenas.VM, d truenas.Device) int {
	return slices.IndexFunc(inBootOrder(vm), func(other truenas.Device) bool { return other.ID == d.ID })
}

// firstDisk returns the position of the first disk among the bootable devices, or one behind all of them.
func firstDisk(vm truenas.VM) int {
	list := inBootOrder(vm)
	if i := slices.IndexFunc(list, func(d truenas.Device) bool { return !drives(d) }); i >= 0 {
		return i
	}
	return len(list)
}

// frontOf returns an order before all devices. TrueNAS reads 0 as no order.
func frontOf(vm truenas.VM) int {
	if len(vm.Devices) == 0 {
		return hardware.OrderRoot - 1
	}
	order := slices.MinFunc(vm.Devices, func(a, b truenas.Device) int { return a.Order - b.Order }).Order - 1
	if order == 0 {
		return -1
	}
	return order
}
