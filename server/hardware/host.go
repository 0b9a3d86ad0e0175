package hardware

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// hostDevices are the devices of the NAS that VMs can get, with the VMs that have them.
type hostDevices struct {
	pci []truenas.PCIDevice
	usb []truenas.USBDevice
	vms []truenas.VM

	mark spec.Mark // the mark of the planned VM
}

// hostDevicesFor plans the passed-through devices of a VM. It reads all VMs, since a device that another VM has is not free:
// TrueNAS refuses to start the second of two VMs that have one device.
func hostDevicesFor(ctx context.Context, nas *truenas.Client, vm truenas.VM, mark spec.Mark, v settings.Values) (list []Device, drop []truenas.Device, err error) {
	if len(v.PCI)+len(v.USB) == 0 {
		return nil, nil, nil
	}
	host, err := readHostDevices(ctx, nas, v)
	if err != nil {
		return nil, nil, err
	}
	host.mark = mark
	for _, kind := range []struct {
		name, dtype string
		entries     []string
		choose      func(entry string) (fits []string, known bool)
	}{{"pci", truenas.DevicePCI, v.PCI, host.choosePCI}, {"usb", truenas.DeviceUSB, v.USB, host.chooseUSB}} {
		var taken []string
		for _, entry := range kind.entries {
			if entry == settings.NoDevices {
				continue
			}
			name, err := host.assign(vm, kind.name, kind.dtype, entry, taken, kind.choose)
			if err != nil {
				return nil, nil, err
			}
			taken = append(taken, name)
			list = append(list, hostDevice(kind.name, kind.dtype, name, len(list)))
		}
		drop = append(drop, surplusHost(vm, kind.dtype, kind.entries, taken)...)
	}
	return list, drop, nil
}

// readHostDevices reads the devices of the kinds that the settings name.
func readHostDevices(ctx context.Context, nas *truenas.Client, v settings.Values) (host hostDevices, err error) {
	if len(v.PCI) > 0 {
		if host.pci, err = nas.Devices.PCIChoices(ctx); err != nil {
			return host, err
		}
	}
	if len(v.USB) > 0 {
		if host.usb, err = nas.Devices.USBChoices(ctx); err != nil {
			return host, err
		}
	}
	host.vms, err = nas.VMs.List(ctx)
	return host, err
}

// choosePCI lists the devices that match an entry of the setting pci. known is false for a device that the system needs.
func (h hostDevices) choosePCI(entry string) (fits []string, known bool) {
	text, isAny := strings.CutPrefix(entry, settings.AnyPCI)
	text = strings.ToLower(strings.TrimSpace(text))
	for _, d := range h.pci {
		if d.Critical {
			continue
		}
		if d.Name == entry || isAny && strings.Contains(strings.ToLower(d.Vendor+" "+d.Product), text) {
			fits = append(fits, d.Name)
		}
	}
	return fits, len(fits) > 0
}

// chooseUSB lists the devices that match an entry of the setting usb.
func (h hostDevices) chooseUSB(entry string) (fits []string, known bool) {
	vendor, product, byIDs := settings.USBIDs(entry)
	for _, d := range h.usb {
		if d.Name == entry || byIDs && d.VendorID == vendor && d.ProductID == product {
			fits = append(fits, d.Name)
		}
	}
	return fits, len(fits) > 0
}

// assign finds a device for an entry: one that the VM has, or else one that no VM has.
func (h hostDevices) assign(vm truenas.VM, setting, dtype, entry string, taken []string, choose func(string) ([]string, bool)) (string, error) {
	fits, known := choose(entry)
	if !known {
		return "", refusal.FailedPrecondition("%s: the NAS has no device %q that can be passed to a VM", spec.HardwareField(setting), entry)
	}
	var holder *truenas.VM
	var held, free string
	for _, name := range fits {
		if slices.Contains(taken, name) {
			continue
		}
		switch other := h.holder(dtype, name, vm.ID); {
		case hasHost(vm, dtype, name):
			return name, nil
		case other != nil:
			if holder == nil || h.known(*other) {
				holder, held = other, name
			}
		case free == "":
			free = name
		}
	}
	switch {
	case free != "":
		return free, nil
	case holder == nil:
		return "", refusal.InvalidArgument(spec.HardwareField(setting), "%q is given more often than the NAS has matching devices", entry)
	}
	field := spec.HardwareField(setting)
	refused := refusal.New(codes.ResourceExhausted, "%s: %q is not free: %s is used by VM %s", field, entry, held, vmrecord.Name(*holder))
	if h.known(*holder) {
		return "", refused
	}
	return "", refusal.Withheld(refused, fmt.Sprintf("%s: %q is not free: another VM has it; the provider's log names the VM", field, entry))
}

// holder returns another VM that has a device, or nil.
func (h hostDevices) holder(dtype, name string, but int64) *truenas.VM {
	i := slices.IndexFunc(h.vms, func(vm truenas.VM) bool { return vm.ID != but && hasHost(vm, dtype, name) })
	if i < 0 {
		return nil
	}
	return &h.vms[i]
}

// holderName returns the name of the VM that has a device, or "".
func (h hostDevices) holderName(dtype, name string) string {
	if vm := h.holder(dtype, name, 0); vm != nil {
		return vmrecord.Name(*vm)
	}
	return ""
}

// known reports whether the owner of the planned VM may know the other one: both VMs belong to one provider and one namespace, or
// to none.
func (h hostDevices) known(other truenas.VM) bool {
	mark, ok := vmrecord.Mark(other)
	return ok && mark.Provider == h.mark.Provider && mark.Namespace == h.mark.Namespace
}

func hasHost(vm truenas.VM, dtype, name string) bool {
	return slices.ContainsFunc(vm.Devices, func(d truenas.Device) bool { return isHost(d.Attributes, dtype, name) })
}

func isHost(a truenas.DeviceAttributes, dtype, name string) bool {
	return a.DType == dtype && (a.PPTDev == name || a.USBDevice == name)
}

// hostDevice returns a planned passed-through device.
func hostDevice(setting, dtype, name string, n int) Device {
	a := truenas.DeviceAttributes{DType: dtype, PPTDev: name}
	if dtype == truenas.DeviceUSB {
		a = truenas.DeviceAttributes{DType: dtype, USBDevice: name}
	}
	return Device{What: "device " + name, Field: spec.HardwareField(setting), Order: orderHost + n, Attributes: a, is: func(have truenas.DeviceAttributes) bool {
		return isHost(have, dtype, name)
	}}
}

// surplusHost lists the devices of a kind that a VM has and its class does not name. A class without an entry for the kind keeps
// them.
func surplusHost(vm truenas.VM, dtype string, entries, taken []string) []truenas.Device {
	var list []truenas.Device
	for _, d := range vm.Devices {
		wanted := slices.ContainsFunc(taken, func(name string) bool { return isHost(d.Attributes, dtype, name) })
		if d.Attributes.DType == dtype && len(entries) > 0 && !wanted {
			list = append(list, d)
		}
	}
	return list
}

// RefuseHostDevices refuses to clone a VM with a device of the NAS, because two VMs cannot share it. The clone's class can
// give pci or usb instead.
func RefuseHostDevices(source truenas.VM, v settings.Values) error {
	for _, d := range source.Devices {
		a := d.Attributes
		if a.DType == truenas.DevicePCI && len(v.PCI) == 0 {
			return refusal.FailedPrecondition("source_vm_id: VM %q has the PCI device %s, which its clone cannot have too: give the clone's class %spci, none or another device", vmrecord.Name(source), a.PPTDev, settings.Prefix)
		}
		if a.DType == truenas.DeviceUSB && len(v.USB) == 0 {
			return refusal.FailedPrecondition("source_vm_id: VM %q has a USB device, which its clone cannot have too: give the clone's class %susb, none or another device", vmrecord.Name(source), settings.Prefix)
		}
	}
	return nil
}

// HostDevice is a device of the NAS that VMs can get.
type HostDevice struct {
	Name        string // the name in the settings pci and usb
	Kind        string // PCI or USB
	Description string
	Holder      string // the VM that has it; empty: none
}

// HostDevices lists the devices of the NAS that VMs can get, PCI devices first. Those that the system needs are left out.
func HostDevices(ctx context.Context, nas *truenas.Client) ([]HostDevice, error) {
	host, err := readHostDevices(ctx, nas, settings.Values{PCI: []string{settings.NoDevices}, USB: []string{settings.NoDevices}})
	if err != nil {
		return nil, err
	}
	var list []HostDevice
	for _, d := range host.pci {
		if !d.Critical {
			list = append(list, HostDevice{d.Name, truenas.DevicePCI, d.Product + " by " + d.Vendor, host.holderName(truenas.DevicePCI, d.Name)})
		}
	}
	for _, d := range host.usb {
		list = append(list, HostDevice{d.Name, truenas.DeviceUSB, d.Product + " by " + d.Vendor, host.holderName(truenas.DeviceUSB, d.Name)})
	}
	return list, nil
}
