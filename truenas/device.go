package truenas

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Device is part of a VM.
type Device struct {
	ID         int64            `json:"id"`
	VM         int64            `json:"vm"`
	Order      int              `json:"order"` // boot order; ties by id
	Attributes DeviceAttributes `json:"attributes"`
}

// DeviceCreate describes a new device. Order 0 selects TrueNAS's default: 1000 for a CDROM, 1001
// for disks, 1002 for the rest. Distinct explicit orders leave other devices in place, so that such
// devices can be created concurrently.
type DeviceCreate struct {
	VM         int64            `json:"vm"`
	Order      int              `json:"order,omitempty"`
	Attributes DeviceAttributes `json:"attributes"`
}

// DeviceUpdate changes the fields that are not nil.
type DeviceUpdate struct {
	Order      *int              `json:"order,omitempty"`
	Attributes *DeviceAttributes `json:"attributes,omitempty"`
}

// DeviceDelete are the options for deleting a device: with the volume of a DISK, the file of a RAW.
type DeviceDelete struct {
	Force   bool `json:"force"`
	Zvol    bool `json:"zvol"`
	RawFile bool `json:"raw_file"`
}

// Devices are the parts of VMs. There is no hotplug: a change applies at the next start of the VM.
type Devices struct{ c *Client }

var (
	deviceQuery   = method[[]Device]{"vm.device.query", read}
	deviceCreate  = method[Device]{"vm.device.create", change}
	deviceUpdate  = method[Device]{"vm.device.update", change}
	deviceDelete  = method[ignored]{"vm.device.delete", change}
	deviceConvert = method[none]{"vm.device.convert", job}
	attachChoices = method[map[string]json.RawMessage]{"vm.device.nic_attach_choices", read}
	bindChoices   = method[map[string]string]{"vm.device.bind_choices", read}
	diskChoices   = method[map[string]string]{"vm.device.disk_choices", read}
)

// List returns the devices that match all filters.
func (s Devices) List(ctx context.Context, filters ...Filter) ([]Device, error) {
	return deviceQuery.call(ctx, s.c, query(filters)...)
}

// Create adds a device. Repeating it is safe for a DISK, RAW or CDROM, because a VM can have a path
// only once ([ErrExists]), but not for a NIC.
func (s Devices) Create(ctx context.Context, d DeviceCreate) (Device, error) {
	return deviceCreate.call(ctx, s.c, d)
}

// Update changes a device.
func (s Devices) Update(ctx context.Context, id int64, d DeviceUpdate) (Device, error) {
	return deviceUpdate.call(ctx, s.c, id, d)
}

// Delete removes a device. TrueNAS refuses it for an active VM.
func (s Devices) Delete(ctx context.Context, id int64, o DeviceDelete) error {
	_, err := deviceDelete.call(ctx, s.c, id, o)
	return err
}

// A NICAttach is a possible attachment of a NIC. Kind is BRIDGE or MACVLAN (host and guest cannot
// talk); it is empty up to 25.10, which does not report it.
type NICAttach struct {
	Name string
	Kind string
}

// NICAttachChoices returns the choices sorted by name.
func (s Devices) NICAttachChoices(ctx context.Context) ([]NICAttach, error) {
	raw, err := attachChoices.call(ctx, s.c)
	if err != nil {
		return nil, err
	}
	return parseAttachChoices(raw)
}

// parseAttachChoices reads {name: name} (up to 25.10) and {kind: [name…]}.
func parseAttachChoices(raw map[string]json.RawMessage) ([]NICAttach, error) {
	var out []NICAttach
	for key, value := range raw {
		if bytes.HasPrefix(bytes.TrimSpace(value), []byte("[")) {
			var names []string
			if err := json.Unmarshal(value, &names); err != nil {
				return nil, fmt.Errorf("%s: %w", attachChoices.name, err)
			}
			for _, name := range names {
				out = append(out, NICAttach{Name: name, Kind: key})
			}
			continue
		}
		out = append(out, NICAttach{Name: key})
	}
	slices.SortFunc(out, func(a, b NICAttach) int { return strings.Compare(a.Name+a.Kind, b.Name+b.Kind) })
	return out, nil
}

// BindChoices are the addresses of the NAS that a DISPLAY can listen on.
func (s Devices) BindChoices(ctx context.Context) ([]string, error) {
	choices, err := bindChoices.call(ctx, s.c)
	return slices.Sorted(maps.Keys(choices)), err
}

// DiskChoices maps the paths of volumes that a DISK can use to their names.
func (s Devices) DiskChoices(ctx context.Context) (map[string]string, error) {
	return diskChoices.call(ctx, s.c)
}
