package server

import (
	"context"
	"slices"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// plannedDevice is a device that a class asks for besides disks, NICs and CD-ROMs.
type plannedDevice struct {
	what       string // for people: "screen"
	field      string
	order      int
	attributes truenas.DeviceAttributes
	is         func(truenas.DeviceAttributes) bool // finds it among the devices of a VM
	change     *truenas.DeviceAttributes           // what differs of the one that the VM has
}

// deviceIn is the device of a VM that a planned one stands for.
func (d plannedDevice) deviceIn(vm truenas.VM) (truenas.Device, bool) {
	i := slices.IndexFunc(vm.Devices, func(have truenas.Device) bool { return d.is(have.Attributes) })
	if i < 0 {
		return truenas.Device{}, false
	}
	return vm.Devices[i], true
}

// fitDevices plans the devices of the class. It asks the NAS what there is only when the class names some of it.
func (s *Server) fitDevices(ctx context.Context, p *plan) error {
	vm := truenas.VM{}
	if p.existing != nil {
		vm = *p.existing
	}
	list, drop, err := s.devicesFor(ctx, vm, p.class)
	if err != nil {
		return err
	}
	p.devices, p.surplus = list, append(p.surplus, drop...)
	if p.existing == nil || !vmrecord.Active(vm) {
		return nil
	}
	for _, d := range list {
		if _, ok := d.deviceIn(vm); !ok || d.change != nil {
			return refusal.FailedPrecondition("%s: VM %q runs with another %s: power it off, and Create changes it", d.field, p.mark.Name, d.what)
		}
	}
	if len(drop) > 0 {
		return refusal.FailedPrecondition("VM %q runs with a %s that is not asked for: power it off, and Create removes it", p.mark.Name, drop[0].Attributes.DType)
	}
	return nil
}

// devicesFor lists the devices of a class, with what differs in the VM, and the devices that the class does not want.
func (s *Server) devicesFor(ctx context.Context, vm truenas.VM, c spec.Class) (list []plannedDevice, drop []truenas.Device, err error) {
	if list, drop, err = displayFor(vm, c.Hardware); err != nil {
		return nil, nil, err
	}
	devices, surplus, err := s.hostDevicesFor(ctx, vm, c.Hardware)
	return append(list, devices...), append(drop, surplus...), err
}

// lacksDevice is the first planned device that the existing VM lacks, or nil.
func (p *plan) lacksDevice() *plannedDevice {
	for i, d := range p.devices {
		if p.existing == nil {
			return &p.devices[i]
		}
		if _, ok := d.deviceIn(*p.existing); !ok {
			return &p.devices[i]
		}
	}
	return nil
}

// otherDevice reports whether a device of the existing VM differs from the plan.
func (p *plan) otherDevice() bool {
	return slices.ContainsFunc(p.devices, func(d plannedDevice) bool { return d.change != nil })
}

// ensureDevice adds a device, or changes the one that the VM has.
func (b *builder) ensureDevice(ctx context.Context, d plannedDevice) error {
	have, ok := d.deviceIn(b.vm)
	switch {
	case !ok:
		return b.add(ctx, d.order, d.attributes)
	case d.change != nil:
		_, err := b.nas.Devices.Update(ctx, have.ID, truenas.DeviceUpdate{Attributes: d.change})
		return err
	}
	return nil
}

// compareDevices plans what Reconfigure does about the devices of the class.
func (c *comparison) compareDevices(ctx context.Context) error {
	list, drop, err := c.s.devicesFor(ctx, c.vm, c.want.Class)
	if err != nil {
		return err
	}
	for _, d := range list {
		have, ok := d.deviceIn(c.vm)
		switch {
		case !ok:
			c.attach = append(c.attach, d)
		case d.change != nil:
			c.devices[have.ID] = *d.change
		default:
			continue
		}
		c.needsOff("%s", d.field)
	}
	if len(drop) > 0 && vmrecord.Active(c.vm) {
		return refusal.FailedPrecondition("VM %q runs with a %s that is not asked for: power it off, and it is removed", vmrecord.Name(c.vm), drop[0].Attributes.DType)
	}
	if len(drop) > 0 {
		c.needsOff("the devices")
	}
	c.drop = drop
	return nil
}
