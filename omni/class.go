package omni

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Class is the provider data of a machine request, which comes from its machine class or its author.
type Class struct {
	Cores       int64  `json:"cores"`
	MemoryMiB   int64  `json:"memory"`
	DiskGiB     int64  `json:"disk_size"`
	StoragePool string `json:"storage_pool"`
	DiskType    string `json:"disk_type"`
	Firmware    string `json:"firmware"`
	SecureBoot  bool   `json:"secure_boot"`
	TPM         bool   `json:"tpm"`
	Encrypted   bool   `json:"encrypted"`
	NIC
	Disks    []Disk   `json:"additional_disks"`
	NICs     []NIC    `json:"additional_nics"`
	Tags     []string `json:"tags"`
	Provider string   `json:"provider"`
	Spread   string   `json:"spread"`
	talosSettings

	Hardware map[string]string `json:"-"` // settings of package settings, by key
}

// Disk is an additional disk.
type Disk struct {
	SizeGiB    int64  `json:"size"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Pool       string `json:"pool"`
	Filesystem string `json:"filesystem"`
}

// NIC is a network card.
type NIC struct {
	Bridge    string   `json:"network_bridge"`
	VLAN      int64    `json:"vlan"`
	Model     string   `json:"network_model"`
	Addresses []string `json:"ip_addresses"`
	Exclude   []string `json:"exclude"`
	Prefix    int64    `json:"ip_prefix"`
	Gateway   string   `json:"ip_gateway"`
	DNS       []string `json:"dns_servers"`
	MTU       int64    `json:"mtu"`
}

// parseClass decodes and checks provider data. It checks every setting, because Omni checks machine classes against the schema
// but not requests that a user creates directly. Its error lists all mistakes.
func parseClass(unmarshal func(any) error) (Class, error) {
	var data bounded
	if err := unmarshal(&data); err != nil {
		return Class{}, refusal("the machine class cannot be read as YAML: %v", err)
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return Class{}, refusal("the machine class cannot be read: %v", err)
	}
	var decoded map[string]any
	if err := json.Unmarshal(encoded, &decoded); err != nil {
		return Class{}, refusal("the machine class cannot be read: %v", err)
	}
	if decoded == nil {
		decoded = map[string]any{}
	}
	wrong := objectMistakes("", classFields(), decoded)
	var c Class
	if len(wrong) == 0 {
		if err := json.Unmarshal(encoded, &c); err != nil {
			return Class{}, refusal("the machine class cannot be read: %v", err)
		}
		wrong = append(c.mistakes(), c.readHardware(decoded)...)
	}
	if len(wrong) > 0 {
		return Class{}, refusal("the machine class cannot be used: %s", textOf(wrong))
	}
	return c, nil
}

// nics returns all network cards, the first one first.
func (c Class) nics() []NIC { return append([]NIC{c.NIC}, c.NICs...) }

// mistakes returns conflicts between settings.
func (c Class) mistakes() []string {
	var wrong []string
	if c.SecureBoot && c.Firmware == "BIOS" {
		wrong = append(wrong, "secure_boot needs firmware UEFI")
	}
	names := map[string]bool{}
	for i, d := range c.disks() {
		if names[d.Name] {
			wrong = append(wrong, fmt.Sprintf("additional_disks[%d].name %q is given twice", i, d.Name))
		}
		names[d.Name] = true
	}
	for i, n := range c.nics() {
		at := ""
		if i > 0 {
			at = fmt.Sprintf("additional_nics[%d].", i-1)
		}
		wrong = append(wrong, n.mistakes(at)...)
	}
	if len(wrong) == 0 {
		wrong = c.addressMistakes()
	}
	return append(wrong, c.talosMistakes()...)
}

func (n NIC) mistakes(at string) []string {
	switch {
	case len(n.Addresses) == 0 && len(n.Exclude) > 0:
		return []string{at + "exclude needs ip_addresses"}
	case len(n.Addresses) == 0 && (n.Prefix != 0 || n.Gateway != "" || len(n.DNS) > 0):
		return []string{at + "ip_prefix, ip_gateway and dns_servers need ip_addresses; without them the network's DHCP decides"}
	case len(n.Addresses) > 0 && n.Prefix == 0:
		return []string{at + "ip_addresses needs ip_prefix"}
	}
	return n.prefixMistakes(at)
}

// diskPools returns the pools of the additional disks, for comparison.
func (c Class) diskPools() string {
	var pools []string
	for _, d := range c.Disks {
		pools = append(pools, d.Pool)
	}
	return strings.Join(pools, " ")
}

// disks returns the additional disks, each with a name.
func (c Class) disks() []Disk {
	disks := make([]Disk, 0, len(c.Disks))
	for i, d := range c.Disks {
		if d.Name == "" {
			d.Name = fmt.Sprintf("disk%d", i+1)
		}
		disks = append(disks, d)
	}
	return disks
}
