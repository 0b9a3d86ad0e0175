package sim

import (
	"context"
	"io"
	"net/netip"
)

// Hypervisor runs the machines of a simulated NAS. Without one in [Config],
// machines run in memory only and their guests behave as [Guest] says.
type Hypervisor interface {
	// Boot starts a machine with its current configuration. It is called
	// without the simulator's lock, so that the machine may read its disks.
	Boot(Machine) (Domain, error)
}

// Domain is a machine that was booted. All methods but Interfaces are called
// with the simulator's lock held: they must wait neither for the guest nor for
// its disks, which cannot be read meanwhile.
type Domain interface {
	PID() int   // of its process; 0: none
	Press()     // presses the power button
	Cut()       // cuts the power; Machine.Off is not called any more
	Reset()     // presses the reset button
	Pause(bool) // suspends or resumes the VM

	// Interfaces returns the reply of the guest agent. It may take time.
	Interfaces(context.Context) ([]GuestInterface, error)
	// Neighbours are the IPv4 addresses of the guest that the host has seen on
	// its networks, and the MAC behind each.
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
	TopologyExtension       bool   // AMD's, by which a guest sees the threads of a core; with "HOST-PASSTHROUGH"
	HideKVM                 bool   // from the guest
	MachineType             string // "pc", "q35", …; empty: the hypervisor's own
	Firmware                string // file name of an OVMF build; empty: a BIOS
	SecureBoot, TPM         bool
	LocalTime               bool // its clock shows local time instead of UTC
	Devices                 []MachineDevice
	Off                     func() // to be called when the machine has gone off by itself
}

// MachineDevice is a device of a machine that is booted. They come in the order
// in which they are booted from.
type MachineDevice struct {
	Kind              string  // "DISK", "RAW", "CDROM", "NIC", "DISPLAY", "PCI" or "USB"
	Model             string  // of a disk "AHCI" or "VIRTIO", of a NIC "E1000" or "VIRTIO"
	Serial            string  // of a disk
	Storage           Storage // of a disk or CD-ROM
	Logical, Physical int     // sector sizes of a disk in bytes; 0: the hypervisor's own
	MAC               string  // of a NIC
	Attach            string  // the interface of the NAS that a NIC is attached to
}

// Storage is an open volume or file. It fails once the machine is off.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	Size() int64    // in bytes, as it was when the machine was started
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
