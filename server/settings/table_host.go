package settings

import (
	"regexp"
	"strings"
)

// AnyPCI is the prefix of an entry of the setting pci for any free device whose vendor or product contains the text after it.
const AnyPCI = "any:"

// NoDevices is the value of pci and usb for no device.
const NoDevices = "none"

func hostDeviceSettings() []Setting {
	const group = "Devices of the NAS"
	return []Setting{
		{
			Name: "pci", Group: group, Title: "PCI devices", Kind: List, check: checkPCI,
			About:   "PCI devices of the NAS for the VM, such as a GPU: the name in the NAS's list (`pci_0000_01_00_0`), or `any:` and a part of the vendor's or product's name (`any:GTX 1070`) for a device that no other VM has.",
			Default: "none", NAS: "devices `PCI`", Change: NextStart, of: func(v *Values) any { return &v.PCI },
		},
		{
			Name: "usb", Group: group, Title: "USB devices", Kind: List, check: checkUSB,
			About:   "USB devices of the NAS for the VM: the name in the NAS's list (`usb_1_2`), or vendor and product (`10c4:ea60`) for a device that no other VM has.",
			Default: "none", NAS: "devices `USB`", Change: NextStart, of: func(v *Values) any { return &v.USB },
		},
	}
}

var (
	pciName = regexp.MustCompile(`^pci_[0-9a-f]{4}_[0-9a-f]{2}_[0-9a-f]{2}_[0-9a-f]$`)
	usbName = regexp.MustCompile(`^usb_\d+_\d+(_\d+)*$`)
	usbIDs  = regexp.MustCompile(`^(0x)?[0-9a-fA-F]{4}:(0x)?[0-9a-fA-F]{4}$`)
)

func checkPCI(text string) string {
	if what, isAny := strings.CutPrefix(text, AnyPCI); text == NoDevices || pciName.MatchString(text) || isAny && strings.TrimSpace(what) != "" {
		return ""
	}
	return "neither the name of a PCI device, such as pci_0000_01_00_0, nor any: and a part of a name, nor none"
}

func checkUSB(text string) string {
	if text == NoDevices || usbName.MatchString(text) || usbIDs.MatchString(text) {
		return ""
	}
	return "neither the name of a USB device, such as usb_1_2, nor vendor and product, such as 10c4:ea60, nor none"
}

// USBIDs returns the vendor and the product in an entry of the setting usb, in TrueNAS's form; ok is false for a name.
func USBIDs(entry string) (vendor, product string, ok bool) {
	if !usbIDs.MatchString(entry) {
		return "", "", false
	}
	vendor, product, _ = strings.Cut(strings.ToLower(entry), ":")
	return "0x" + strings.TrimPrefix(vendor, "0x"), "0x" + strings.TrimPrefix(product, "0x"), true
}
