package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/truenas/sim"
)

var (
	pciFlag = regexp.MustCompile(`^([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])=([^,]+),([^,]+)$`)
	usbFlag = regexp.MustCompile(`^(usb_(\d{1,3})_(\d{1,3}))=([0-9a-f]{4}):([0-9a-f]{4}),([^,]+),([^,]+)$`)
)

// parsePCI parses address=vendor,product. Each device is a graphics card with its own IOMMU group.
func parsePCI(text string, group int) (sim.PCIDevice, error) {
	part := pciFlag.FindStringSubmatch(text)
	if part == nil {
		return sim.PCIDevice{}, errors.New("want address=vendor,product, such as 0000:01:00.0=NVIDIA,GTX 1070")
	}
	return sim.PCIDevice{Address: part[1], Class: "0x030000", Type: "VGA compatible controller", Vendor: part[2], Product: part[3], Group: group}, nil
}

// parseUSB parses name=vendor id:product id,vendor,product.
func parseUSB(text string) (sim.USBDevice, error) {
	part := usbFlag.FindStringSubmatch(text)
	if part == nil {
		return sim.USBDevice{}, errors.New("want name=vendor:product,vendor,product, such as usb_1_2=10c4:ea60,Silicon Labs,CP210x")
	}
	bus, _ := strconv.Atoi(part[2]) // The expression matched digits.
	number, _ := strconv.Atoi(part[3])
	return sim.USBDevice{Name: part[1], Bus: bus, DeviceNumber: number, VendorID: "0x" + part[4], ProductID: "0x" + part[5], Vendor: part[6], Product: part[7]}, nil
}

// addDevices adds the devices of the flags to the NAS. It refuses two devices with one address.
func (s *settings) addDevices() error {
	seen := map[string]bool{}
	for _, text := range s.pci {
		d, err := parsePCI(text, len(s.nas.PCI)+1)
		if err == nil && seen[d.Address] {
			err = errors.New("the address is given twice")
		}
		if err != nil {
			return program.Usage(fmt.Errorf("--pci %s: %w", text, err))
		}
		seen[d.Address] = true
		s.nas.PCI = append(s.nas.PCI, d)
	}
	for _, text := range s.usb {
		d, err := parseUSB(text)
		if err == nil && seen[d.Name] {
			err = errors.New("the name is given twice")
		}
		if err != nil {
			return program.Usage(fmt.Errorf("--usb %s: %w", text, err))
		}
		seen[d.Name] = true
		s.nas.USB = append(s.nas.USB, d)
	}
	return nil
}
