package truenas

import (
	"encoding/json"
	"fmt"
)

// Device types.
const (
	DeviceDisk    = "DISK"    // a volume
	DeviceCDROM   = "CDROM"   // an ISO file
	DeviceRaw     = "RAW"     // a file used as a disk
	DeviceNIC     = "NIC"     // a network interface
	DeviceDisplay = "DISPLAY" // SPICE, and VNC from 25.10
	DevicePCI     = "PCI"
	DeviceUSB     = "USB"
)

// DeviceAttributes holds the attributes of any type of device; DType decides which are sent.
// TrueNAS's defaults replace zero values.
type DeviceAttributes struct {
	DType string

	Path   string // DISK: /dev/zvol/<dataset>; CDROM and RAW: a file
	Type   string // DISK, RAW: AHCI or VIRTIO; NIC: E1000 or VIRTIO; DISPLAY: SPICE or VNC
	IOType string // DISK, RAW: NATIVE, THREADS or IO_URING
	Serial string // DISK, RAW: TrueNAS chooses it; the guest sees it
	Exists bool   // RAW: the file exists
	Boot   bool   // RAW

	LogicalSectorSize  int // DISK, RAW: 512 or 4096 bytes
	PhysicalSectorSize int // DISK, RAW: likewise; needs a logical one

	NICAttach           string // NIC: a bridge or an interface
	MAC                 string // NIC: up to 25.10 a missing one changes at every start
	TrustGuestRXFilters bool   // NIC

	Resolution string // DISPLAY, such as 1024x768
	Bind       string // DISPLAY: the address to listen on
	Port       int    // DISPLAY
	WebPort    int    // DISPLAY
	Password   string // DISPLAY
	Web        *bool  // DISPLAY: default true
	Wait       bool   // DISPLAY: the guest waits for a viewer

	PPTDev    string // PCI: name of the device on the NAS, see [Devices.PCIChoices]
	USBDevice string // USB: name of the device on the NAS; empty for one that is attached by vendor and product

	// Raw is the reply of TrueNAS, including attributes that this struct lacks. An update sends
	// those back unchanged.
	Raw json.RawMessage
}

// Disk attaches a volume as a VIRTIO disk; path is /dev/zvol/<dataset>, with + for a space.
func Disk(path string) DeviceAttributes {
	return DeviceAttributes{DType: DeviceDisk, Path: path, Type: "VIRTIO", IOType: "THREADS"}
}

// CDROM attaches an ISO file under /mnt.
func CDROM(path string) DeviceAttributes {
	return DeviceAttributes{DType: DeviceCDROM, Path: path}
}

// NIC attaches a network interface; model is VIRTIO or E1000. Always pass a mac: up to 25.10 TrueNAS generates a new address
// at every start.
func NIC(attach, mac, model string) DeviceAttributes {
	return DeviceAttributes{DType: DeviceNIC, NICAttach: attach, MAC: mac, Type: model}
}

// Display attaches a SPICE display that listens on bind.
func Display(bind, password string) DeviceAttributes {
	return DeviceAttributes{DType: DeviceDisplay, Type: "SPICE", Bind: bind, Password: password}
}

// attributeNames lists the attributes of each device type on the wire. TrueNAS refuses attributes
// of other types.
var attributeNames = map[string][]string{
	DeviceDisk:    {"path", "type", "iotype", "serial", "logical_sectorsize", "physical_sectorsize"},
	DeviceCDROM:   {"path"},
	DeviceRaw:     {"path", "type", "iotype", "serial", "exists", "boot", "logical_sectorsize", "physical_sectorsize"},
	DeviceNIC:     {"type", "nic_attach", "mac", "trust_guest_rx_filters"},
	DeviceDisplay: {"type", "resolution", "bind", "port", "web_port", "password", "web", "wait"},
	DevicePCI:     {"pptdev"},
	DeviceUSB:     {"device"},
}

// wireAttributes is the flat union of the attributes of all device types.
type wireAttributes struct {
	DType      string `json:"dtype"`
	Path       string `json:"path,omitempty"`
	Type       string `json:"type,omitempty"`
	IOType     string `json:"iotype,omitempty"`
	Serial     string `json:"serial,omitempty"`
	Logical    int    `json:"logical_sectorsize,omitempty"`
	Physical   int    `json:"physical_sectorsize,omitempty"`
	Exists     bool   `json:"exists,omitempty"`
	Boot       bool   `json:"boot,omitempty"`
	NICAttach  string `json:"nic_attach,omitempty"`
	MAC        string `json:"mac,omitempty"`
	Trust      bool   `json:"trust_guest_rx_filters,omitempty"`
	Resolution string `json:"resolution,omitempty"`
	Bind       string `json:"bind,omitempty"`
	Port       int    `json:"port,omitempty"`
	WebPort    int    `json:"web_port,omitempty"`
	Password   string `json:"password,omitempty"`
	Web        *bool  `json:"web,omitempty"`
	Wait       bool   `json:"wait,omitempty"`
	PPTDev     string `json:"pptdev,omitempty"`
	USBDevice  string `json:"device,omitempty"`
}

// UnmarshalJSON keeps the reply in Raw.
func (a *DeviceAttributes) UnmarshalJSON(data []byte) error {
	var w wireAttributes
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	*a = DeviceAttributes{
		DType: w.DType, Path: w.Path, Type: w.Type, IOType: w.IOType, Serial: w.Serial, LogicalSectorSize: w.Logical, PhysicalSectorSize: w.Physical, Exists: w.Exists, Boot: w.Boot,
		NICAttach: w.NICAttach, MAC: w.MAC, TrustGuestRXFilters: w.Trust,
		Resolution: w.Resolution, Bind: w.Bind, Port: w.Port, WebPort: w.WebPort, Password: w.Password, Web: w.Web, Wait: w.Wait,
		PPTDev: w.PPTDev, USBDevice: w.USBDevice, Raw: append(json.RawMessage(nil), data...),
	}
	return nil
}

// MarshalJSON merges the attributes of the device's type into Raw.
func (a DeviceAttributes) MarshalJSON() ([]byte, error) {
	out := map[string]json.RawMessage{}
	if len(a.Raw) > 0 {
		if err := json.Unmarshal(a.Raw, &out); err != nil {
			return nil, fmt.Errorf("device attributes: %w", err)
		}
	}
	known, err := a.wire()
	if err != nil {
		return nil, err
	}
	for _, name := range attributeNames[a.DType] {
		if v, ok := known[name]; ok {
			out[name] = v
		}
	}
	out["dtype"] = known["dtype"]
	return json.Marshal(out)
}

func (a DeviceAttributes) wire() (map[string]json.RawMessage, error) {
	flat, err := json.Marshal(wireAttributes{
		DType: a.DType, Path: a.Path, Type: a.Type, IOType: a.IOType, Serial: a.Serial, Logical: a.LogicalSectorSize, Physical: a.PhysicalSectorSize, Exists: a.Exists, Boot: a.Boot,
		NICAttach: a.NICAttach, MAC: a.MAC, Trust: a.TrustGuestRXFilters,
		Resolution: a.Resolution, Bind: a.Bind, Port: a.Port, WebPort: a.WebPort, Password: a.Password, Web: a.Web, Wait: a.Wait,
		PPTDev: a.PPTDev, USBDevice: a.USBDevice,
	})
	if err != nil {
		return nil, err
	}
	var out map[string]json.RawMessage
	return out, json.Unmarshal(flat, &out)
}
