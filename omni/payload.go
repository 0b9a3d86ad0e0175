package omni

import (
	"encoding/json"
	"fmt"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// The contract's payloads. The structs have no JSON tags, because the contract's keys are the names of the fields.
type (
	classPayload struct {
		CPU             int64
		MemoryMiB       int64
		Firmware        string
		DiskDefaults    diskDefaults
		SecurityProfile *securityProfile
		ExtraConfig     map[string]string `json:",omitempty"`
	}
	diskDefaults struct {
		Type    string
		SizeGiB int64
	}
	securityProfile struct {
		SecureBoot        bool
		TPMEnabled        bool
		EncryptionEnabled bool `json:",omitempty"`
	}
	imagePayload struct {
		Path         string
		Format       string
		ImportedDisk *bool `json:",omitempty"` // a key of VirtRigaud 0.4
	}
	networkPayload struct {
		Name     string
		Bridge   string
		VLAN     int64
		Model    string
		StaticIP string
		Prefix   int64
		Gateway  string
		DNS      string

		MacAddress string `json:",omitempty"`
	}
	diskPayload struct {
		SizeGiB int64
		Type    string
		Name    string

		StorageClass string `json:",omitempty"` // of a backend that lists [extensionDiskPools]
	}
	placementPayload struct{ Datastore string }
)

// encode writes a payload; plain structs always marshal.
func encode(v any) string {
	encoded, _ := json.Marshal(v)
	return string(encoded)
}

// createRequest returns the machine in the contract's form. path is that of a prepared image. An empty MAC address leaves the
// choice to the backend.
func (c Class) createRequest(name, path string, addresses, macs []string) *providerv1.CreateRequest {
	class := classPayload{CPU: c.Cores, MemoryMiB: c.MemoryMiB, Firmware: c.firmware(), DiskDefaults: diskDefaults{or(c.DiskType, "thin"), c.DiskGiB}, ExtraConfig: c.Hardware}
	if c.SecureBoot || c.TPM || c.Encrypted {
		class.SecurityProfile = &securityProfile{SecureBoot: c.SecureBoot, TPMEnabled: c.TPM, EncryptionEnabled: c.Encrypted}
	}
	return &providerv1.CreateRequest{
		Name:          name,
		ClassJson:     encode(class),
		ImageJson:     encode(imagePayload{Path: path, Format: "raw"}),
		NetworksJson:  encode(c.networks(addresses, macs)),
		DisksJson:     encode(c.diskPayloads()),
		PlacementJson: encode(placementPayload{c.StoragePool}),
	}
}

func (c Class) firmware() string { return or(c.Firmware, "UEFI") }

func (c Class) networks(addresses, macs []string) []networkPayload {
	var list []networkPayload
	for i, n := range c.nics() {
		payload := networkPayload{Name: fmt.Sprintf("eth%d", i), Bridge: n.Bridge, VLAN: n.VLAN, Model: or(n.Model, "virtio")}
		if i < len(addresses) && addresses[i] != "" {
			payload.StaticIP, payload.Prefix, payload.Gateway, payload.DNS = addresses[i], n.Prefix, n.Gateway, strings.Join(n.DNS, ",")
		}
		if i < len(macs) {
			payload.MacAddress = macs[i]
		}
		list = append(list, payload)
	}
	return list
}

func (c Class) diskPayloads() []diskPayload {
	var list []diskPayload
	for _, d := range c.disks() {
		list = append(list, diskPayload{SizeGiB: d.SizeGiB, Type: or(d.Type, "thin"), Name: d.Name, StorageClass: d.Pool})
	}
	return list
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
