package truenas

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
)

// A PCIDevice is a PCI device of the NAS.
type PCIDevice struct {
	Name            string // "pci_0000_01_00_0"
	Vendor, Product string
	Description     string
	Critical        bool // the system needs it: no machine can get it
}

// A USBDevice is a USB device of the NAS.
type USBDevice struct {
	Name                string // "usb_1_2"
	Vendor, Product     string
	VendorID, ProductID string // "0x10c4"
}

var (
	pciChoices = method[map[string]json.RawMessage]{"vm.device.passthrough_device_choices", read}
	usbChoices = method[map[string]json.RawMessage]{"vm.device.usb_passthrough_choices", read}
)

// PCIChoices are the PCI devices of the NAS, ordered by name. Some of them cannot be passed through.
func (s Devices) PCIChoices(ctx context.Context) ([]PCIDevice, error) {
	raw, err := pciChoices.call(ctx, s.c)
	if err != nil {
		return nil, err
	}
	var list []PCIDevice
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var w struct {
			Capability struct {
				Vendor  string `json:"vendor"`
				Product string `json:"product"`
			} `json:"capability"`
			Description string  `json:"description"`
			Critical    bool    `json:"critical"`
			Error       *string `json:"error"`
		}
		if err := json.Unmarshal(raw[name], &w); err != nil {
			return nil, err
		}
		list = append(list, PCIDevice{Name: name, Vendor: w.Capability.Vendor, Product: w.Capability.Product, Description: w.Description, Critical: w.Critical || w.Error != nil})
	}
	return list, nil
}

// USBChoices are the USB devices of the NAS, in order of their names.
func (s Devices) USBChoices(ctx context.Context) ([]USBDevice, error) {
	raw, err := usbChoices.call(ctx, s.c)
	if err != nil {
		return nil, err
	}
	var list []USBDevice
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var w struct {
			Capability struct {
				Vendor    string `json:"vendor"`
				Product   string `json:"product"`
				VendorID  string `json:"vendor_id"`
				ProductID string `json:"product_id"`
			} `json:"capability"`
		}
		if err := json.Unmarshal(raw[name], &w); err != nil {
			return nil, err
		}
		list = append(list, USBDevice{Name: name, Vendor: w.Capability.Vendor, Product: w.Capability.Product, VendorID: w.Capability.VendorID, ProductID: w.Capability.ProductID})
	}
	return list, nil
}
