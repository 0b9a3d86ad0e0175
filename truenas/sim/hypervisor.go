package sim

import (
	"context"
	"io"
	"net/netip"
)

// Hypervisor runs the VMs of a simulated NAS. Without one in [Config], VMs run in memory only and their guests behave as [Guest]
// describes.
type Hypervisor interface {
	// Boot starts a VM with its current configuration. It is called without the simulator's lock, because the VM may read its
	// disks.
	Boot(Machine) (Domain, error)
}

// Domain is a running VM. All methods except Interfaces are called with the simulator's lock held: they must not wait for the
// guest or its disks, which are unreadable meanwhile.
type Domain interface {
	PID() int   // of its process; 0: none
	Press()     // presses the power button
	Cut()       // cuts the power; Machine.Off must not be called afterwards
	Reset()     // presses the reset button
	Pause(bool) // suspends or resumes the VM

	// Interfaces returns the reply of the guest agent. It may take time.
	Interfaces(context.Context) ([]GuestInterface, error)
	// Neighbours returns the IPv4 addresses of the guest that the host has seen on its networks, with their MACs.
	Neighbours() map[netip.Addr]string
}

// Machine is the configuration of a machine that a hypervisor boots.
type Machine struct {
	ID                      int // on the NAS
	Name                    string
	UUID                    string // of its SMBIOS
	Sockets, Cores, Threads int
	MemoryMiB               int64
	CPUMode                 string // "CUSTOM", "HOST-MODEL" or "HOST-PASSTHROUGH"
	CPUModel                string // with "CUSTOM"; empty: the hypervisor's own
	TopologyExtension       bool   // AMD's topology extension, by which a guest sees the threads of a core; with "HOST-PASSTHROUGH"
	HideKVM                 bool   // hide KVM from the guest
	MachineType             string // "pc", "q35", …; empty: the hypervisor's own
	Firmware                string // file name of an OVMF build; empty: a BIOS
	SecureBoot, TPM         bool
	LocalTime               bool // the VM's clock shows local time instead of UTC
	Devices                 []MachineDevice
	Off                     func() // to be called when the guest has switched the VM off
}

// MachineDevice is a device of a booting VM. Devices come in boot order.
type MachineDevice struct {
	Kind              string  // "DISK", "RAW", "CDROM", "NIC", "DISPLAY", "PCI" or "USB"
	Model             string  // of a disk "AHCI" or "VIRTIO", of a NIC "E1000" or "VIRTIO"
	Serial            string  // of a disk
	Storage           Storage // of a disk or CD-ROM
	Logical, Physical int     // sector sizes of a disk in bytes; 0: the hypervisor's own
	MAC               string  // of a NIC
	Attach            string  // the interface of the NAS that a NIC is attached to
}

// Storage is an open volume or file. It fails after the VM is off.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	Size() int64    // in bytes, at the start of the VM
	ReadOnly() bool // of a CD-ROM
}

// GuestInterface is a network interface as the guest sees it.
type GuestInterface struct {
	Name      string         `json:"name"`
	Hardware  string         `json:"hardware_address"`
	Addresses []GuestAddress `json:"ip_addresses"`
}

// GuestAddress is an address of a guest's interface.
type GuestAddress struct {
	Address string `json:"ip_address"`
	Prefix  int    `json:"prefix"`
	Type    string `json:"ip_address_type"` // "IPV4" or "IPV6"
}
