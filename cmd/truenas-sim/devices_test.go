package main

import (
	"reflect"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/truenas/sim"
)

func TestDevicesOfTheFlags(t *testing.T) {
	s := settings{hypervisor: "memory", pci: []string{"0000:01:00.0=NVIDIA,GTX 1070", "0000:02:00.0=AMD,Radeon"}, usb: []string{"usb_1_2=10c4:ea60,Silicon Labs,CP210x"}}
	if err := s.complete(none); err != nil {
		t.Fatal(err)
	}
	pci := []sim.PCIDevice{
		{Address: "0000:01:00.0", Class: "0x030000", Type: "VGA compatible controller", Vendor: "NVIDIA", Product: "GTX 1070", Group: 1},
		{Address: "0000:02:00.0", Class: "0x030000", Type: "VGA compatible controller", Vendor: "AMD", Product: "Radeon", Group: 2},
	}
	usb := []sim.USBDevice{{Name: "usb_1_2", Vendor: "Silicon Labs", VendorID: "0x10c4", Product: "CP210x", ProductID: "0xea60", Bus: 1, DeviceNumber: 2}}
	if !reflect.DeepEqual(s.nas.PCI, pci) || !reflect.DeepEqual(s.nas.USB, usb) {
		t.Errorf("got %+v and %+v", s.nas.PCI, s.nas.USB)
	}
	for _, wrong := range []settings{
		{pci: []string{"01:00.0=NVIDIA,GTX 1070"}},
		{pci: []string{"0000:01:00.0=NVIDIA"}},
		{pci: []string{"0000:01:00.0=a,b", "0000:01:00.0=c,d"}},
		{usb: []string{"1_2=10c4:ea60,a,b"}},
		{usb: []string{"usb_1_2=10c4:ea60,a,b", "usb_1_2=10c4:ea61,a,b"}},
	} {
		wrong.hypervisor = "memory"
		err := wrong.complete(none)
		if program.ExitCode(err) != 2 || !strings.HasPrefix(err.Error(), "--") {
			t.Errorf("%+q %+q: got %v", wrong.pci, wrong.usb, err)
		}
	}
}
