package sim

import (
	"fmt"
	"slices"
	"strings"
)

// PCIDevice is a PCI device of the NAS.
type PCIDevice struct {
	Address  string // "0000:01:00.0"
	Class    string // "0x030000"
	Type     string // "VGA compatible controller"
	Vendor   string // "NVIDIA Corporation"
	Product  string
	Driver   string // "nvidia"; empty: none
	Group    int    // of the IOMMU
	Critical bool   // the system needs it
}

// USBDevice is a USB device of the NAS.
type USBDevice struct {
	Name              string // "usb_1_2"
	Vendor, VendorID  string // "Silicon Labs", "0x10c4"
	Product           string
	ProductID         string // "0xea60"
	Bus, DeviceNumber int
}

var passthroughMethods = map[string]method{
	"vm.device.iommu_enabled":              {roles: []string{"VM_DEVICE_READ"}, run: constant(true)},
	"vm.device.passthrough_device":         {roles: []string{"VM_DEVICE_READ"}, run: pciDetails},
	"vm.device.passthrough_device_choices": {roles: []string{"VM_DEVICE_READ"}, run: pciChoices},
	"vm.device.pptdev_choices":             {until: v25_10, roles: []string{"VM_DEVICE_READ"}, run: pciChoices},
	"vm.device.usb_passthrough_device":     {roles: []string{"VM_DEVICE_READ"}, run: usbDetails},
	"vm.device.usb_passthrough_choices":    {roles: []string{"VM_DEVICE_READ"}, run: usbChoices},
}

// name returns libvirt's name of the device, such as pci_0000_01_00_0.
func (p PCIDevice) name() string {
	return "pci_" + strings.NewReplacer(":", "_", ".", "_").Replace(p.Address)
}

// parts returns the parts of the address in decimal, TrueNAS's form.
func (p PCIDevice) parts() (domain, bus, slot, function string) {
	var d, b, s, f int
	if _, err := fmt.Sscanf(p.Address, "%x:%x:%x.%x", &d, &b, &s, &f); err != nil {
		panic("sim: " + p.Address + " is not the address of a PCI device")
	}
	return fmt.Sprint(d), fmt.Sprint(b), fmt.Sprint(s), fmt.Sprint(f)
}

func (p PCIDevice) row() map[string]any {
	domain, bus, slot, function := p.parts()
	drivers := []string{}
	if p.Driver != "" {
		drivers = append(drivers, p.Driver)
	}
	return map[string]any{
		"capability":      map[string]any{"class": p.Class, "domain": domain, "bus": bus, "slot": slot, "function": function, "product": p.Product, "vendor": p.Vendor},
		"controller_type": p.Type, "critical": p.Critical, "drivers": drivers, "error": nil, "reset_mechanism_defined": true,
		"iommu_group": map[string]any{"number": p.Group, "addresses": []any{map[string]any{
			"domain": fmt.Sprintf("0x%s", p.Address[:4]), "bus": fmt.Sprintf("0x%s", p.Address[5:7]), "slot": fmt.Sprintf("0x%s", p.Address[8:10]), "function": fmt.Sprintf("0x%s", p.Address[11:]),
		}}},
		"available":   !p.Critical && (p.Driver == "" || p.Driver == "vfio-pci"),
		"device_path": "/sys/bus/pci/devices/" + p.Address,
		"description": fmt.Sprintf("%s '%s': %s by '%s'", p.Address, p.Type, p.Product, p.Vendor),
	}
}

func (c *call) pciDevice(name string) (PCIDevice, bool) {
	i := slices.IndexFunc(c.sim.cfg.PCI, func(p PCIDevice) bool { return p.name() == name })
	if i < 0 {
		return PCIDevice{}, false
	}
	return c.sim.cfg.PCI[i], true
}

func pciChoices(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	rows := map[string]any{}
	for _, p := range c.sim.cfg.PCI {
		rows[p.name()] = p.row()
	}
	return rows, nil
}

func pciDetails(c *call) (any, error) {
	var name string
	if err := c.args([]string{"device"}, &name); err != nil {
		return nil, err
	}
	if p, ok := c.pciDevice(name); ok {
		return p.row(), nil
	}
	return map[string]any{
		"capability":      map[string]any{"class": nil, "domain": nil, "bus": nil, "slot": nil, "function": nil, "product": "Not Available", "vendor": "Not Available"},
		"controller_type": nil, "critical": false, "iommu_group": nil, "available": false, "drivers": []string{}, "error": "Device not found",
		"device_path": nil, "reset_mechanism_defined": false, "description": "",
	}, nil
}

func (u USBDevice) row() map[string]any {
	return map[string]any{"available": true, "error": nil, "capability": map[string]any{
		"product": u.Product, "product_id": u.ProductID, "vendor": u.Vendor, "vendor_id": u.VendorID, "bus": fmt.Sprint(u.Bus), "device": fmt.Sprint(u.DeviceNumber),
	}}
}

func usbChoices(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	rows := map[string]any{}
	for _, u := range c.sim.cfg.USB {
		rows[u.Name] = c.usbRow(u.row())
	}
	return rows, nil
}

// usbRow returns a row in the release's form, which has a description from 26 on.
func (c *call) usbRow(row map[string]any) map[string]any {
	if c.release() >= v26 {
		capability, _ := row["capability"].(map[string]any)
		row["description"] = fmt.Sprintf("%v by '%v'", capability["product"], capability["vendor"])
	}
	return row
}

func usbDetails(c *call) (any, error) {
	var name string
	if err := c.args([]string{"device"}, &name); err != nil {
		return nil, err
	}
	for _, u := range c.sim.cfg.USB {
		if u.Name == name {
			return c.usbRow(u.row()), nil
		}
	}
	return c.usbRow(map[string]any{"available": false, "error": noUSB(name), "capability": map[string]any{
		"product": nil, "product_id": nil, "vendor": nil, "vendor_id": nil, "bus": nil, "device": nil,
	}}), nil
}

func noUSB(name string) string {
	return fmt.Sprintf("error: Could not find matching device '%[1]s'\nerror: Node device not found: no node device with matching name '%[1]s'\n", name)
}

// checkPCI makes TrueNAS's checks of a passed-through PCI device. Several VMs may have it if at most one is active.
func (c *call) checkPCI(d *device, m *vm, old *device, v *invalid) {
	name := d.text("pptdev")
	p, found := c.pciDevice(name)
	switch {
	case !found:
		v.add("attribute.pptdev", eINVAL, "Not a valid choice. The PCI device is not available for passthru: Device not found")
	case p.Critical:
		v.add("attribute.pptdev", eINVAL, "'%s' based PCI devices are critical for system function and cannot be used for PCI passthrough", p.Type)
	}
	if old != nil && old.text("pptdev") != name && m.active() {
		v.add("attribute.pptdev", eINVAL, "Changing PCI device is not allowed while the VM is active.")
	}
	if c.release() >= v26 && c.hasHostDevice(d, m, old) {
		v.add("attributes.pptdev", eINVAL, "%s already has PCI device '%s' configured", m.Config.Name, name)
	}
}

// checkUSB requires a device by its name, or by its vendor and product.
func (c *call) checkUSB(d *device, m *vm, old *device, v *invalid) {
	name := d.text("device")
	switch ids, _ := d.Attributes["usb"].(map[string]any); {
	case name == "" && ids == nil:
		v.add("attributes.device", eINVAL, "Either device or attributes.usb must be specified")
	case name != "" && ids != nil:
		v.add("attributes.usb", eINVAL, "Either device must be specified or USB details but not both")
	case name == "" && !slices.ContainsFunc(c.sim.cfg.USB, func(u USBDevice) bool { return u.VendorID == ids["vendor_id"] && u.ProductID == ids["product_id"] }):
		v.add("attributes.usb", eINVAL, "Unable to locate USB, please confirm its present in a USB port")
	case name != "" && !slices.ContainsFunc(c.sim.cfg.USB, func(u USBDevice) bool { return u.Name == name }):
		v.add("attribute.device", eINVAL, "Not a valid choice. The device is not available for USB passthrough: %s", noUSB(name))
	case c.release() >= v26 && c.hasHostDevice(d, m, old):
		v.add("attributes.device", eINVAL, "%s already has USB device '%s' configured", m.Config.Name, hostIdentity(d))
	}
}

// hasHostDevice reports whether the VM already has the device of the NAS.
func (c *call) hasHostDevice(d *device, m *vm, old *device) bool {
	return slices.ContainsFunc(c.sim.state.devicesOf(m.ID), func(other *device) bool {
		return other.DType == d.DType && hostIdentity(other) == hostIdentity(d) && (old == nil || other.ID != old.ID)
	})
}

// hostIdentity identifies a passed-through device on the NAS.
func hostIdentity(d *device) string {
	if ids, _ := d.Attributes["usb"].(map[string]any); ids != nil {
		return fmt.Sprintf("%v--%v", ids["product_id"], ids["vendor_id"])
	}
	return d.text("pptdev") + d.text("device")
}

// hostDevicesFree refuses to start a VM whose passed-through device belongs to an active VM.
func (s *Sim) hostDevicesFree(m *vm) error {
	for _, d := range s.state.devicesOf(m.ID) {
		if d.DType != "PCI" && d.DType != "USB" {
			continue
		}
		for _, other := range s.state.Devices {
			if holder := s.state.VMs[other.VM]; other.VM != m.ID && other.DType == d.DType && hostIdentity(other) == hostIdentity(d) && holder != nil && holder.active() {
				return fail(eFAULT, "%s device is already being used by another active VM", d.DType)
			}
		}
	}
	return nil
}
