package sim

import "testing"

// A device of the NAS can be configured in two VMs, of which one runs.
func TestPassthrough(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			n.cfg.PCI = []PCIDevice{
				{Address: "0000:01:00.0", Class: "0x030000", Type: "VGA compatible controller", Vendor: "NVIDIA Corporation", Product: "GP104"},
				{Address: "0000:00:1f.2", Class: "0x010601", Type: "SATA controller", Vendor: "Intel Corporation", Product: "AHCI", Critical: true},
			}
			n.cfg.USB = []USBDevice{{Name: "usb_1_2", Vendor: "Silicon Labs", VendorID: "0x10c4", Product: "CP210x", ProductID: "0xea60"}}
			var choices map[string]struct {
				Available bool `json:"available"`
				Critical  bool `json:"critical"`
			}
			n.must(&choices, "vm.device.passthrough_device_choices")
			if len(choices) != 2 || !choices["pci_0000_01_00_0"].Available || !choices["pci_0000_00_1f_2"].Critical {
				t.Errorf("choices %v", choices)
			}
			one, two := n.newVM("one", nil), n.newVM("two", nil)
			create := func(vm int, attributes object) object { return object{"vm": vm, "attributes": attributes} }
			n.fails(eINVAL, "'SATA controller' based PCI devices are critical", "vm.device.create", create(one, object{"dtype": "PCI", "pptdev": "pci_0000_00_1f_2"}))
			n.fails(eINVAL, "Device not found", "vm.device.create", create(one, object{"dtype": "PCI", "pptdev": "pci_0000_09_00_0"}))
			n.fails(eINVAL, "Unable to locate USB", "vm.device.create", create(one, object{"dtype": "USB", "usb": object{"vendor_id": "0x1", "product_id": "0x2"}}))
			n.fails(eINVAL, "not available for USB passthrough", "vm.device.create", create(one, object{"dtype": "USB", "device": "usb_9_9"}))
			for _, id := range []int{one, two} {
				n.device(id, object{"dtype": "PCI", "pptdev": "pci_0000_01_00_0"})
				n.device(id, object{"dtype": "USB", "usb": object{"vendor_id": "0x10c4", "product_id": "0xea60"}})
			}
			n.must(nil, "vm.start", one)
			n.fails(eFAULT, "PCI device is already being used by another active VM", "vm.start", two)
			n.must(nil, "vm.poweroff", one)
			n.must(nil, "vm.start", two)
		})
	}
}
