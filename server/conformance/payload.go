package conformance

import (
	"encoding/json"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// The manager's *_json fields: structs without JSON tags, so keys are in PascalCase and always present.
type (
	class struct {
		CPU                int
		MemoryMiB          int
		Firmware           string
		DiskDefaults       *diskDefaults
		GuestToolsPolicy   string
		ExtraConfig        map[string]string
		PerformanceProfile *struct{}
		SecurityProfile    *struct{}
		ResourceLimits     *struct{}
	}
	diskDefaults struct {
		Type    string
		SizeGiB int
	}
	image struct {
		TemplateName, Path, URL, Format, Checksum, ChecksumType string
	}
	network struct {
		Name, Portgroup, NetworkName, Bridge string
		VLAN                                 int
		Model, MacAddress, IPPolicy          string
		StaticIP                             string
		Prefix                               int
		Gateway, DNS                         string
		PCISlotNumber                        *int
	}
	disk struct {
		SizeGiB int
		Type    string
		Name    string
	}
	placement struct {
		Datastore, StoragePod, Cluster, Folder, Host string
	}
)

// plain returns a small VM with the image, the network and the pool of the target.
func (c *checker) plain(name string) *providerv1.CreateRequest {
	req := &providerv1.CreateRequest{
		Name:      name,
		ClassJson: text(c.class()),
		DisksJson: "null",
		ImageJson: text(image{Path: c.target.Image, ChecksumType: "sha256"}),
		Tags:      []string{"conformance"},
	}
	req.NetworksJson = text(c.networks())
	if c.target.Pool != "" {
		req.PlacementJson = text(placement{Datastore: c.target.Pool})
	}
	return req
}

// class returns the smallest class that boots. A VM with an image gets the image's size.
func (c *checker) class() class {
	small := class{CPU: 1, MemoryMiB: 256, Firmware: "UEFI", GuestToolsPolicy: "install"}
	if c.target.Image == "" {
		small.DiskDefaults = &diskDefaults{Type: "thin", SizeGiB: 1}
	}
	return small
}

func (c *checker) networks() []network {
	if c.target.Network == "" {
		return nil
	}
	return []network{{Name: "eth0", Bridge: c.target.Network, Model: "virtio"}}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // A struct of strings and numbers always marshals.
	}
	return string(b)
}
