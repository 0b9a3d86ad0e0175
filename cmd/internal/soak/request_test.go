package soak

import (
	"encoding/json"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// The manager's payloads: structs without JSON tags.
type (
	classJSON struct {
		CPU          int
		MemoryMiB    int64
		Firmware     string
		DiskDefaults *diskDefaultsJSON
	}
	diskDefaultsJSON struct {
		Type    string
		SizeGiB int
	}
	imageJSON struct {
		TemplateName, Path, URL, Format, Checksum, ChecksumType string
		ImportedDisk                                            *bool `json:",omitempty"` // line 0.3 does not send it
	}
	networkJSON struct{ Name, Bridge, Model string }
	diskJSON    struct {
		SizeGiB int
		Type    string
		Name    string
	}
	desiredJSON struct {
		Name     string
		Class    classJSON
		Image    imageJSON
		Networks []networkJSON
		Disks    []diskJSON
		Tags     []string

		// Line 0.3 does not send these.
		TargetHostID *string         `json:",omitempty"`
		Owner        *ownerOfMachine `json:",omitempty"`
	}
	ownerOfMachine struct{ UID, Namespace, Name string }
)

// text encodes a payload. Structs of strings and numbers always marshal.
func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func (m *machine) class() classJSON {
	c := classJSON{CPU: m.cpus, MemoryMiB: m.memory, Firmware: "UEFI"}
	if m.root.gib > 0 {
		c.DiskDefaults = &diskDefaultsJSON{"thin", m.root.gib}
	}
	return c
}

func (m *machine) networks() []networkJSON {
	var list []networkJSON
	for range m.nics {
		list = append(list, networkJSON{"eth", "br0", "virtio"})
	}
	return list
}

func (m *machine) additional() []diskJSON {
	var list []diskJSON
	for _, d := range m.extras {
		list = append(list, diskJSON{d.gib, "thin", d.name})
	}
	return list
}

// create returns the request that creates the VM. image is the path of the source of its root disk.
func (m *machine) create(image string) *providerv1.CreateRequest {
	req := &providerv1.CreateRequest{
		Name: m.name, ClassJson: text(m.class()), NetworksJson: text(m.networks()), DisksJson: text(m.additional()),
		ImageJson: text(m.image(image)), Owner: identity(m.name, m.owner),
	}
	if m.seed {
		req.UserData = []byte("#cloud-config\nhostname: " + m.name + "\n")
	}
	return req
}

// line04 reports whether a manager of line 0.4 has the VM, which sends an owner.
func (m *machine) line04() bool { return m.owner != "" }

func (m *machine) image(path string) imageJSON {
	image := imageJSON{Path: path, ChecksumType: "sha256"}
	if m.line04() {
		own := m.source == imported
		image.ImportedDisk = &own
	}
	return image
}

// desired returns the request of a Reconfigure, which describes the entire VM.
func (m *machine) desired() string {
	all := desiredJSON{Name: m.name, Class: m.class(), Networks: m.networks(), Disks: m.additional()}
	if m.line04() {
		all.TargetHostID, all.Owner = new(string), &ownerOfMachine{m.owner, namespace, m.name}
	}
	return text(all)
}

func identity(name, uid string) *providerv1.ObjectIdentity {
	if uid == "" {
		return nil
	}
	return &providerv1.ObjectIdentity{Namespace: namespace, Name: name, Uid: uid}
}
