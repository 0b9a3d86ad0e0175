package sim

import (
	"encoding/json"
	"fmt"
	"strings"
)

const usbControllers = "piix3-uhci|piix4-uhci|ehci|ich9-ehci1|vt82c686b-uhci|pci-ohci|nec-xhci|qemu-xhci"

type cdromAttributes struct {
	DType string `json:"dtype"`
	Path  string `json:"path" sim:"required,minlen=1,pattern=^[^{}]*$"`
}

type displayAttributes struct {
	DType      string  `json:"dtype"`
	Resolution string  `json:"resolution" sim:"enum=1920x1200|1920x1080|1600x1200|1600x900|1400x1050|1280x1024|1280x720|1024x768|800x600|640x480"`
	Port       *int    `json:"port" sim:"nullable,min=5900,max=65535"`
	WebPort    *int    `json:"web_port" sim:"nullable"`
	Bind       string  `json:"bind" sim:"minlen=1"`
	Wait       bool    `json:"wait"`
	Password   *string `json:"password" sim:"nullable"`
	Web        bool    `json:"web"`
	Type       string  `json:"type" sim:"enum=SPICE|VNC"`
}

type nicAttributes struct {
	DType   string      `json:"dtype"`
	Trust   bool        `json:"trust_guest_rx_filters"`
	Type    string      `json:"type" sim:"enum=E1000|VIRTIO"`
	Attach  *string     `json:"nic_attach" sim:"nullable"`
	MAC     *string     `json:"mac" sim:"nullable,pattern=^([0-9A-Fa-f]{2}[:-]?){5}([0-9A-Fa-f]{2})$"`
	Address *pciAddress `json:"pci_address" sim:"nullable,since=27"`
}

type pciAddress struct {
	Bus      int `json:"bus" sim:"required,min=1,max=255"`
	Slot     int `json:"slot" sim:"required,min=0,max=31"`
	Function int `json:"function" sim:"min=0,max=7"`
	Domain   int `json:"domain" sim:"min=0,max=0"`
}

type pciAttributes struct {
	DType  string `json:"dtype"`
	Device string `json:"pptdev" sim:"required,minlen=1"`
}

type rawAttributes struct {
	DType    string  `json:"dtype"`
	Path     string  `json:"path" sim:"required,minlen=1,pattern=^[^{}]*$"`
	Type     string  `json:"type" sim:"enum=AHCI|VIRTIO"`
	Exists   bool    `json:"exists"`
	Boot     bool    `json:"boot"`
	Size     *int64  `json:"size" sim:"nullable"`
	Logical  *int    `json:"logical_sectorsize" sim:"nullable"`
	Physical *int    `json:"physical_sectorsize" sim:"nullable"`
	IOType   string  `json:"iotype" sim:"enum=NATIVE|THREADS|IO_URING"`
	Serial   *string `json:"serial" sim:"nullable,minlen=1"`
}

type diskAttributes struct {
	DType    string  `json:"dtype"`
	Path     *string `json:"path" sim:"nullable,minlen=1"`
	Type     string  `json:"type" sim:"enum=AHCI|VIRTIO"`
	Create   bool    `json:"create_zvol"`
	ZvolName *string `json:"zvol_name" sim:"nullable"`
	ZvolSize *int64  `json:"zvol_volsize" sim:"nullable"`
	Logical  *int    `json:"logical_sectorsize" sim:"nullable"`
	Physical *int    `json:"physical_sectorsize" sim:"nullable"`
	IOType   string  `json:"iotype" sim:"enum=NATIVE|THREADS|IO_URING"`
	Serial   *string `json:"serial" sim:"nullable,minlen=1"`
}

type usbAttributes struct {
	DType string `json:"dtype"`
	USB   *struct {
		Vendor  string `json:"vendor_id" sim:"required,minlen=1,pattern=^0x.*"`
		Product string `json:"product_id" sim:"required,minlen=1,pattern=^0x.*"`
	} `json:"usb" sim:"nullable"`
	Controller string  `json:"controller_type" sim:"enum=piix3-uhci|piix4-uhci|ehci|ich9-ehci1|vt82c686b-uhci|pci-ohci|nec-xhci|qemu-xhci"`
	Device     *string `json:"device" sim:"nullable,minlen=1"`
}

// attributes decodes the attributes of a device strictly, by their dtype, and fills in the defaults, some of which are
// surprising. Validation errors begin with at; without it they have the plain name.
func (c *call) attributes(at string, raw json.RawMessage) (map[string]any, error) {
	var kind struct {
		DType any `json:"dtype"`
	}
	var v invalid
	if json.Unmarshal(raw, &kind) != nil {
		v.add(at, eINVAL, "Input should be a valid dictionary")
		return nil, v
	}
	if kind.DType == nil {
		v.add(at+".dtype", eINVAL, "Field required")
		return nil, v
	}
	dtype, _ := kind.DType.(string)
	into := blankAttributes(dtype)
	if into == nil {
		v.add(at, eINVAL, "Input tag '%v' found using 'dtype' does not match any of the expected tags: 'CDROM', 'DISPLAY', 'NIC', 'PCI', 'RAW', 'DISK', 'USB'", kind.DType)
		return nil, v
	}
	if at != "" {
		at += "." + dtype
	}
	if err := c.decode(at, raw, into).err(); err != nil {
		return nil, err
	}
	all, err := asMap(into)
	if err != nil {
		return nil, err
	}
	c.checkShape(at, all, &v)
	if c.release() < v27 {
		delete(all, "pci_address")
	}
	return all, v.err()
}

// blankAttributes returns the defaults of a dtype, or nil for an unknown one.
func blankAttributes(dtype string) any {
	switch dtype {
	case "CDROM":
		return &cdromAttributes{}
	case "DISPLAY":
		return &displayAttributes{Resolution: "1024x768", Bind: "127.0.0.1", Web: true, Type: "SPICE"}
	case "NIC":
		return &nicAttributes{Type: "E1000"}
	case "PCI":
		return &pciAttributes{}
	case "RAW":
		return &rawAttributes{Type: "AHCI", IOType: "THREADS"}
	case "DISK":
		return &diskAttributes{Type: "AHCI", IOType: "THREADS"}
	case "USB":
		return &usbAttributes{Controller: "nec-xhci"}
	}
	return nil
}

// checkShape checks rules of the models that tags cannot express.
func (c *call) checkShape(at string, all map[string]any, v *invalid) {
	if all["dtype"] == "DISK" {
		switch {
		case all["path"] != nil && all["create_zvol"] == true:
			v.add(at, eINVAL, "Value error, Path should not be provided if create_zvol is set")
		case all["path"] == nil && all["create_zvol"] != true:
			v.add(at, eINVAL, "Value error, Path must be specified if create_zvol is not set")
		}
	}
	for _, key := range []string{"logical_sectorsize", "physical_sectorsize"} {
		if n := all[key]; n != nil && n != 512.0 && n != 4096.0 {
			v.add(at+"."+key, eINVAL, "Input should be None, 512 or 4096")
		}
	}
	if all["dtype"] == "DISPLAY" && c.release() == v25_04_2 && all["type"] != "SPICE" {
		v.add(at+".type", eINVAL, "Input should be 'SPICE'")
	}
	if path, _ := all["path"].(string); all["dtype"] == "CDROM" && c.release() == v25_04_2 && !strings.HasPrefix(path, "/mnt/") {
		v.add(at+".path", eINVAL, "String should match pattern '^/mnt/[^{}]*$'")
	}
}

func asMap(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("attributes are not an object: %w", err)
	}
	return all, nil
}
