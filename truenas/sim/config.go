package sim

import (
	"io"
	"time"
)

// DefaultUser and DefaultAPIKey log in when Config.Keys is empty.
const (
	DefaultUser   = "root"
	DefaultAPIKey = "1-simulatedsimulatedsimulatedsimulatedsimulatedsimulatedsimulated0"
)

// Config describes a simulated NAS. The zero value is usable.
type Config struct {
	Release     string        // "25.04.2", "25.10" (the default), "26" or "27"
	Versions    []string      // versions that /api/versions lists; default: those of the release
	Keys        []Key         // default: DefaultUser with DefaultAPIKey and FULL_ADMIN
	Pools       []Pool        // default: "tank" of 1 TiB
	MemoryBytes int64         // default: 64 GiB
	CPUs        int           // default: 16
	Interfaces  []Interface   // default: eno1, br0 over it, vlan20 on it with tag 20, br20 over that
	PCI         []PCIDevice   // default: none
	USB         []USBDevice   // default: none
	Latency     time.Duration // minimum duration of each call, in wall time
	Clock       Clock         // default: real time
	Transcript  io.Writer     // one JSON line per finished call or job; writes are serialised
	Seed        int64         // of all random values, so that a run can be repeated
	// UploadSilence is how long the web server waits for the next byte of an upload, in wall time; default: a minute.
	UploadSilence time.Duration
	Hypervisor    Hypervisor // runs the VMs; nil: they run in memory only

	// DropsUserProperties makes pool.dataset.create accept user properties and drop them, as the betas of 26 did.
	DropsUserProperties bool

	// ScramIterations is the iteration count of SCRAM, 50000 to 5000000. The default is 50000, a tenth of a NAS's, because every
	// simulator derives the keys again.
	ScramIterations int
}

// Key is an API key and its roles.
type Key struct {
	Username string
	APIKey   string // "<id>-<64 characters>"
	Roles    []string
	Expired  bool
}

// Pool is a ZFS pool with a single disk.
type Pool struct {
	Name      string
	SizeBytes int64
	Flash     bool // the disk is an SSD
	Degraded  bool // it has a fault and works without redundancy
}

// Interface is a network interface of the NAS.
type Interface struct {
	Name    string
	Type    string   // "PHYSICAL", "BRIDGE", "VLAN"
	Members []string // of a bridge
	Parent  string   // of a VLAN
	Tag     int      // of a VLAN
}

// withDefaults fills in omitted fields.
func (c Config) withDefaults() Config {
	if c.Release == "" {
		c.Release = "25.10"
	}
	if len(c.Keys) == 0 {
		c.Keys = []Key{{Username: DefaultUser, APIKey: DefaultAPIKey, Roles: []string{fullAdmin}}}
	}
	if len(c.Pools) == 0 {
		c.Pools = []Pool{{Name: "tank", SizeBytes: 1 << 40}}
	}
	if c.MemoryBytes == 0 {
		c.MemoryBytes = 64 << 30
	}
	if c.ScramIterations == 0 {
		c.ScramIterations = 50000
	}
	if c.UploadSilence == 0 {
		c.UploadSilence = time.Minute
	}
	if c.CPUs == 0 {
		c.CPUs = 16
	}
	if len(c.Interfaces) == 0 {
		c.Interfaces = []Interface{
			{Name: "eno1", Type: "PHYSICAL"},
			{Name: "br0", Type: "BRIDGE", Members: []string{"eno1"}},
			{Name: "vlan20", Type: "VLAN", Parent: "eno1", Tag: 20},
			{Name: "br20", Type: "BRIDGE", Members: []string{"vlan20"}},
		}
	}
	if c.Clock == nil {
		c.Clock = realClock{}
	}
	return c
}
