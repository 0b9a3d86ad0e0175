package truenas

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
)

// A VM is a virtual machine as recorded by TrueNAS.
type VM struct {
	ID                  int64    `json:"id"`
	Name                string   `json:"name"` // letters, digits and _ only; unique
	Description         string   `json:"description"`
	UUID                string   `json:"uuid"` // SMBIOS system UUID; TrueNAS does not enforce that it is unique
	VCPUs               int      `json:"vcpus"`
	Cores               int      `json:"cores"`
	Threads             int      `json:"threads"`
	MemoryMiB           int64    `json:"memory"`
	Bootloader          string   `json:"bootloader"` // UEFI or UEFI_CSM
	BootloaderOVMF      string   `json:"bootloader_ovmf"`
	SecureBoot          bool     `json:"enable_secure_boot"`
	TPM                 bool     `json:"trusted_platform_module"`
	Autostart           bool     `json:"autostart"`
	CPUMode             string   `json:"cpu_mode"`
	CPUModel            string   `json:"cpu_model"`
	CPUTopology         bool     `json:"enable_cpu_topology_extension"`
	CPUSet              string   `json:"cpuset"`  // CPUs of the NAS, such as 0-3,8
	NodeSet             string   `json:"nodeset"` // NUMA nodes of the NAS
	PinVCPUs            bool     `json:"pin_vcpus"`
	HideFromMSR         bool     `json:"hide_from_msr"`
	HyperVEnlightenment bool     `json:"hyperv_enlightenments"`
	Time                string   `json:"time"`             // LOCAL or UTC
	MachineType         string   `json:"machine_type"`     // empty: the NAS's own choice
	ShutdownTimeout     int      `json:"shutdown_timeout"` // seconds
	EnsureDisplayDevice bool     `json:"ensure_display_device"`
	Devices             []Device `json:"devices"` // in boot order; not in events up to 25.10
	Status              VMStatus `json:"status"`
}

// InBootOrder sorts the devices of VMs; TrueNAS lists them by id.
func InBootOrder(vms ...VM) {
	for _, vm := range vms {
		slices.SortStableFunc(vm.Devices, func(a, b Device) int {
			return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ID, b.ID))
		})
	}
}

// VMStatus is the state of a VM. StateError also means that TrueNAS cannot reach libvirt.
type VMStatus struct {
	State       string `json:"state"`
	DomainState string `json:"domain_state"` // as in libvirt; may be empty from 26 on
	PID         *int64 `json:"pid"`
}

// States of a VM. Events up to 25.10 also use the last three.
const (
	StateRunning   = "RUNNING"
	StateStopped   = "STOPPED"
	StateSuspended = "SUSPENDED"
	StateError     = "ERROR"
	StateShutoff   = "SHUTOFF"
	StateNone      = "NOSTATE"
	StateUpdating  = "UPDATING CONFIGURATION"
)

// Bootloaders.
const (
	BootUEFI = "UEFI"
	BootCSM  = "UEFI_CSM"
)

// CPU modes.
const (
	CPUCustom          = "CUSTOM"
	CPUHostModel       = "HOST-MODEL"
	CPUHostPassthrough = "HOST-PASSTHROUGH"
)

// VMCreate describes a new VM. TrueNAS's defaults replace zero values, except for Autostart and
// EnsureDisplayDevice: their default is true, so they are always sent.
type VMCreate struct {
	Name                string `json:"name"`
	Description         string `json:"description,omitempty"`
	UUID                string `json:"uuid,omitempty"` // version 4 only
	VCPUs               int    `json:"vcpus,omitempty"`
	Cores               int    `json:"cores,omitempty"`
	Threads             int    `json:"threads,omitempty"` // vcpus × cores × threads is at most 255
	MemoryMiB           int64  `json:"memory"`            // at least 20
	Bootloader          string `json:"bootloader,omitempty"`
	BootloaderOVMF      string `json:"bootloader_ovmf,omitempty"`
	SecureBoot          bool   `json:"enable_secure_boot,omitempty"`
	TPM                 bool   `json:"trusted_platform_module,omitempty"`
	Autostart           bool   `json:"autostart"`
	ShutdownTimeout     int    `json:"shutdown_timeout,omitempty"` // seconds, 5 to 300
	EnsureDisplayDevice bool   `json:"ensure_display_device"`
	ArchType            string `json:"arch_type,omitempty"`           // must be given with MachineType
	MachineType         string `json:"machine_type,omitempty"`        // see [VMs.MachineTypes]
	SuspendOnSnapshot   *bool  `json:"suspend_on_snapshot,omitempty"` // default true from 26
	VMHardware
}

// VMHardware is the settings of the emulated hardware that vm.create and vm.update share. Nil selects TrueNAS's default, or keeps
// the current value.
type VMHardware struct {
	CPUMode             *string  `json:"cpu_mode,omitempty"`
	CPUModel            **string `json:"cpu_model,omitempty"` // only with CPUCustom; a pointer to nil removes it
	CPUTopology         *bool    `json:"enable_cpu_topology_extension,omitempty"`
	CPUSet              *string  `json:"cpuset,omitempty"`
	NodeSet             *string  `json:"nodeset,omitempty"`
	PinVCPUs            *bool    `json:"pin_vcpus,omitempty"` // needs a CPUSet with as many members as the machine has CPUs
	HideFromMSR         *bool    `json:"hide_from_msr,omitempty"`
	HyperVEnlightenment *bool    `json:"hyperv_enlightenments,omitempty"`
	Time                *string  `json:"time,omitempty"` // ClockLocal or ClockUTC
}

// Clocks.
const (
	ClockLocal = "LOCAL"
	ClockUTC   = "UTC"
)

// VMUpdate changes the fields that are not nil. The loader's firmware and secure boot are missing
// because TrueNAS cannot change them from 25.10 on.
type VMUpdate struct {
	Name                *string `json:"name,omitempty"`
	Description         *string `json:"description,omitempty"`
	UUID                *string `json:"uuid,omitempty"`
	VCPUs               *int    `json:"vcpus,omitempty"`
	Cores               *int    `json:"cores,omitempty"`
	Threads             *int    `json:"threads,omitempty"`
	MemoryMiB           *int64  `json:"memory,omitempty"`
	Bootloader          *string `json:"bootloader,omitempty"`
	TPM                 *bool   `json:"trusted_platform_module,omitempty"`
	Autostart           *bool   `json:"autostart,omitempty"`
	ShutdownTimeout     *int    `json:"shutdown_timeout,omitempty"`
	EnsureDisplayDevice *bool   `json:"ensure_display_device,omitempty"`
	VMHardware
}

// VMs are the machines of the NAS.
type VMs struct{ c *Client }

var (
	vmQuery  = method[[]VM]{"vm.query", read}
	vmGet    = method[VM]{"vm.get_instance", read}
	vmCreate = method[VM]{"vm.create", change}
	vmUpdate = method[VM]{"vm.update", change}
	vmDelete = method[ignored]{"vm.delete", change} // true up to 25.10, null later
	vmOVMF   = method[map[string]string]{"vm.bootloader_ovmf_choices", read}
	vmMemory = method[int64]{"vm.get_available_memory", read}
	vmModels = method[map[string]string]{"vm.cpu_model_choices", read}
	vmArches = method[map[string][]string]{"vm.guest_architecture_and_machine_choices", read}
)

// List returns the VMs that match all filters, with their devices.
func (s VMs) List(ctx context.Context, filters ...Filter) ([]VM, error) {
	found, err := vmQuery.call(ctx, s.c, query(filters)...)
	InBootOrder(found...)
	return found, err
}

// Get returns the VM with that id, or [ErrNotFound].
func (s VMs) Get(ctx context.Context, id int64) (VM, error) {
	found, err := vmGet.call(ctx, s.c, id)
	InBootOrder(found)
	return found, err
}

// ByName returns the VM with that name, or [ErrNotFound].
func (s VMs) ByName(ctx context.Context, name string) (VM, error) {
	found, err := s.List(ctx, Where("name", name))
	if err != nil {
		return VM{}, err
	}
	if len(found) == 0 {
		return VM{}, fmt.Errorf("vm %q: %w", name, ErrNotFound)
	}
	return found[0], nil
}

// ByUUID returns all VMs with that SMBIOS UUID. TrueNAS does not enforce that it is unique, so
// there may be several.
func (s VMs) ByUUID(ctx context.Context, uuid string) ([]VM, error) {
	return s.List(ctx, Where("uuid", uuid))
}

// Create records a VM without devices and does not start it.
func (s VMs) Create(ctx context.Context, vm VMCreate) (VM, error) {
	found, err := vmCreate.call(ctx, s.c, vm)
	InBootOrder(found)
	return found, err
}

// Update changes a VM. A running one applies the change at its next start.
func (s VMs) Update(ctx context.Context, id int64, vm VMUpdate) (VM, error) {
	found, err := vmUpdate.call(ctx, s.c, id, vm)
	InBootOrder(found)
	return found, err
}

// DeleteOptions select the objects deleted together with a VM. Zvols destroys the volumes of its disks. Force deletes an
// active VM; up to 25.10 TrueNAS does so without it.
type DeleteOptions struct {
	Zvols bool `json:"zvols"`
	Force bool `json:"force"`
}

// Delete removes a VM. Up to 25.10 TrueNAS powers an active one off first (7 s); from 26 on it
// returns [ErrBusy] unless Force is set.
func (s VMs) Delete(ctx context.Context, id int64, o DeleteOptions) error {
	_, err := vmDelete.call(ctx, s.c, id, o)
	return err
}

// BootloaderOVMFChoices returns the names of the UEFI firmwares that a VM can have. From 25.10 on
// TrueNAS chooses one itself.
func (s VMs) BootloaderOVMFChoices(ctx context.Context) ([]string, error) {
	choices, err := vmOVMF.call(ctx, s.c)
	return slices.Sorted(maps.Keys(choices)), err
}

// CPUModels returns the models that a machine with [CPUCustom] can have.
func (s VMs) CPUModels(ctx context.Context) ([]string, error) {
	models, err := vmModels.call(ctx, s.c)
	return slices.Sorted(maps.Keys(models)), err
}

// ArchX86 is the architecture of the machines that this package makes.
const ArchX86 = "x86_64"

// MachineTypes returns the machine types of [ArchX86] that the NAS can emulate.
func (s VMs) MachineTypes(ctx context.Context) ([]string, error) {
	choices, err := vmArches.call(ctx, s.c)
	return choices[ArchX86], err
}

// AvailableMemory returns the memory in bytes that is left for VMs.
func (s VMs) AvailableMemory(ctx context.Context) (int64, error) {
	return vmMemory.call(ctx, s.c)
}
