package hardware

import (
	"context"
	"slices"

	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// The orders of the devices of a new VM. Each device has a different order, so that devices can be made in parallel: TrueNAS boots
// by order, the root disk first.
const (
	OrderRoot  = 1000
	OrderDisk  = 1001
	OrderCDROM = 1090 // before the NICs, because the firmware would otherwise try the network first
	OrderNIC   = 1100
	OrderSeed  = 1200

	orderDisplay = 1300
	orderHost    = 1400 // devices of the NAS
)

// Device is a device of a class other than disks, NICs and CD-ROMs.
type Device struct {
	What       string // for users: "screen"
	Field      string
	Order      int
	Attributes truenas.DeviceAttributes
	is         func(truenas.DeviceAttributes) bool // matches the device of a VM
	Change     *truenas.DeviceAttributes           // the new attributes of the VM's device, or nil
}

// In returns the device of a VM that corresponds to a planned one.
func (d Device) In(vm truenas.VM) (truenas.Device, bool) {
	i := slices.IndexFunc(vm.Devices, func(have truenas.Device) bool { return d.is(have.Attributes) })
	if i < 0 {
		return truenas.Device{}, false
	}
	return vm.Devices[i], true
}

// Devices lists the devices of a class with their differences in the VM, and the devices of the VM that the class does not
// have. The mark is that of the VM; it decides whether a refusal may name another VM.
func Devices(ctx context.Context, nas *truenas.Client, vm truenas.VM, mark spec.Mark, c spec.Class) (list []Device, drop []truenas.Device, err error) {
	if list, drop, err = displayFor(vm, c.Hardware); err != nil {
		return nil, nil, err
	}
	devices, surplus, err := hostDevicesFor(ctx, nas, vm, mark, c.Hardware)
	return append(list, devices...), append(drop, surplus...), err
}

// Difference is a setting in which an existing VM differs from a request.
type Difference struct {
	Field      string
	Have, Want string
}
