package server

import (
	"context"
	"slices"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// fitDevices plans the devices of the class. It queries the devices of the NAS only when the class names any.
func (s *Server) fitDevices(ctx context.Context, p *plan) error {
	vm := truenas.VM{}
	if p.existing != nil {
		vm = *p.existing
	}
	list, drop, err := hardware.Devices(ctx, s.nas, vm, p.mark, p.class)
	if err != nil {
		return err
	}
	p.devices, p.surplus = list, append(p.surplus, drop...)
	if p.existing == nil || !vmrecord.Active(vm) {
		return nil
	}
	for _, d := range list {
		if _, ok := d.In(vm); !ok || d.Change != nil {
			return refusal.FailedPrecondition("%s: VM %q runs with another %s: power it off, and Create changes it", d.Field, p.mark.Name, d.What)
		}
	}
	if len(drop) > 0 {
		return refusal.FailedPrecondition("VM %q runs with a %s that the request does not name: power it off, and Create removes it", p.mark.Name, drop[0].Attributes.DType)
	}
	return nil
}

// lacksDevice returns the first planned device that the existing VM lacks, or nil.
func (p *plan) lacksDevice() *hardware.Device {
	for i, d := range p.devices {
		if p.existing == nil {
			return &p.devices[i]
		}
		if _, ok := d.In(*p.existing); !ok {
			return &p.devices[i]
		}
	}
	return nil
}

// otherDevice reports whether a device of the existing VM differs from the plan.
func (p *plan) otherDevice() bool {
	return slices.ContainsFunc(p.devices, func(d hardware.Device) bool { return d.Change != nil })
}

// ensureDevice adds a device, or changes the one that the VM has.
func (b *builder) ensureDevice(ctx context.Context, d hardware.Device) error {
	have, ok := d.In(b.vm)
	switch {
	case !ok:
		return b.add(ctx, d.Order, d.Attributes)
	case d.Change != nil:
		_, err := b.nas.Devices.Update(ctx, have.ID, truenas.DeviceUpdate{Attributes: d.Change})
		return err
	}
	return nil
}

// compareDevices plans the changes of Reconfigure to the devices of the class.
func (c *comparison) compareDevices(ctx context.Context) error {
	mark, _ := vmrecord.Mark(c.vm) // Without a mark, the caller may not learn of other VMs.
	list, drop, err := hardware.Devices(ctx, c.s.nas, c.vm, mark, c.want.Class)
	if err != nil {
		return err
	}
	for _, d := range list {
		have, ok := d.In(c.vm)
		switch {
		case !ok:
			c.attach = append(c.attach, d)
		case d.Change != nil:
			c.devices[have.ID] = *d.Change
		default:
			continue
		}
		c.needsOff("%s", d.Field)
	}
	if len(drop) > 0 && vmrecord.Active(c.vm) {
		return refusal.FailedPrecondition("VM %q runs with a %s that the request does not name: power it off, and Reconfigure removes it", vmrecord.Name(c.vm), drop[0].Attributes.DType)
	}
	if len(drop) > 0 {
		c.needsOff("the devices")
	}
	c.drop = drop
	return nil
}

// lockHostDevices serializes the calls that give devices of the NAS to VMs, from the choice of a free device until the VM has it:
// TrueNAS accepts two VMs with one device, and then starts only one of them.
func (s *Server) lockHostDevices(ctx context.Context, v settings.Values) (unlock func(), err error) {
	if len(v.PCI)+len(v.USB) == 0 {
		return func() {}, nil
	}
	return s.locks.Lock(ctx, "the choice of a device of the NAS")
}
