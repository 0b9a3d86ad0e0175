package qemu

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"time"

	"virtrigaud-provider-truenas/truenas/sim"
)

// Program is the default program for machines; the options can name another.
const Program = "qemu-system-x86_64"

// bootDeadline is how long QEMU may take to set up its devices. The boot of the guest comes after that.
const bootDeadline = time.Minute

// Options are the options of a hypervisor. The zero value is usable.
type Options struct {
	Program     string // default: [Program], looked for in PATH
	Firmware    string // folder of the OVMF builds; default: /usr/share/OVMF
	Accelerator string // "tcg" or "kvm"; default: KVM where it works, else TCG

	// Networks are the addresses of the networks of the NAS's interfaces. The router has the first address. Default: 192.0.2.0/24
	// for "br0", 198.51.100.0/24 for "br20" and 203.0.113.0/24 for all others.
	Networks map[string]netip.Prefix

	// Uplinks are the interfaces of the NAS that lead to this host instead of a
	// network in this program.
	Uplinks map[string]Uplink

	// Consoles is a folder for the output of the VMs' serial ports, with a file <name>.log for each. Default: none.
	Consoles string

	// Datagram receives the UDP datagrams that guests send to the router. It is called from several goroutines.
	Datagram func(Datagram)
}

// Datagram is a datagram that a guest sent to the router of its network.
type Datagram struct {
	Network string // the interface of the NAS
	MAC     string
	From    netip.AddrPort
	Port    uint16 // of the router
	Payload []byte
}

// Hypervisor runs VMs. It implements [sim.Hypervisor] and must be closed after the simulator.
type Hypervisor struct {
	program     string
	firmware    string
	accelerator string
	logs        string // folder
	datagram    func(Datagram)
	networks    map[string]netip.Prefix
	uplinks     map[string]Uplink

	wg sync.WaitGroup // processes

	mu       sync.Mutex // guards everything below
	closed   bool
	lans     map[string]*lan
	vars     map[string]*memory // variables of the firmware, by UUID and build
	consoles map[string]*Console
	domains  map[string]*domain // running ones, by UUID
}

var _ sim.Hypervisor = (*Hypervisor)(nil)

// New finds QEMU. Its error names the packages to install.
func New(o Options) (*Hypervisor, error) {
	if o.Program == "" {
		o.Program = Program
	}
	program, err := exec.LookPath(o.Program)
	if err != nil {
		return nil, fmt.Errorf("QEMU is missing (on Debian: apt-get install qemu-system-x86 ovmf): %w", err)
	}
	if o.Firmware == "" {
		o.Firmware = "/usr/share/OVMF"
	}
	if o.Networks == nil {
		o.Networks = map[string]netip.Prefix{
			"br0": netip.MustParsePrefix("192.0.2.0/24"), "br20": netip.MustParsePrefix("198.51.100.0/24"),
		}
	}
	switch o.Accelerator {
	case "":
		o.Accelerator = accelerator("/dev/kvm", "/proc/cpuinfo")
	case "tcg", "kvm":
	default:
		return nil, fmt.Errorf("accelerator %q is not tcg or kvm", o.Accelerator)
	}
	return &Hypervisor{
		program: program, firmware: o.Firmware, accelerator: o.Accelerator, logs: o.Consoles, datagram: o.Datagram, networks: o.Networks, uplinks: o.Uplinks,
		lans: map[string]*lan{}, vars: map[string]*memory{}, consoles: map[string]*Console{}, domains: map[string]*domain{},
	}, nil
}

// accelerator returns "kvm" if KVM can run guests. Some hosts have the device without a suitable processor, and guests would
// never boot there.
func accelerator(device, cpuinfo string) string {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return "tcg"
	}
	_ = f.Close() // nothing was written
	flags, err := os.ReadFile(cpuinfo)
	if err != nil || !virtualizes(string(flags)) {
		return "tcg"
	}
	return "kvm"
}

// Accelerator returns the accelerator of the VMs.
func (h *Hypervisor) Accelerator() string { return h.accelerator }

var errClosed = errors.New("the hypervisor was closed")

// Boot starts a process and returns when it has all its devices.
func (h *Hypervisor) Boot(m sim.Machine) (sim.Domain, error) {
	d, err := h.boot(m, h.accelerator)
	if err != nil && h.accelerator == "kvm" {
		// KVM may be refused although the device and the processor support it.
		return answer(h.boot(m, "tcg"))
	}
	return answer(d, err)
}

// answer keeps a nil pointer from becoming an interface that is not nil.
func answer(d *domain, err error) (sim.Domain, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Console returns the serial port of a VM by its UUID, for all its boots.
func (h *Hypervisor) Console(uuid string) *Console {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.consoles[uuid] == nil {
		h.consoles[uuid] = newConsole()
	}
	return h.consoles[uuid]
}

// variables returns the variables of a VM's firmware, which outlive its process.
func (h *Hypervisor) variables(uuid, file string) (*memory, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := uuid + " " + file
	if h.vars[key] == nil {
		blank, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("the firmware is missing (on Debian: apt-get install ovmf): %w", err)
		}
		h.vars[key] = &memory{data: blank}
	}
	return h.vars[key], nil
}

// lan returns the network of an interface of the NAS.
func (h *Hypervisor) lan(name string) *lan {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lans[name] == nil {
		h.lans[name] = newLAN(name, h.prefix(name), h.datagram)
	}
	return h.lans[name]
}

// prefix returns the addresses of the network of an interface of the NAS.
func (h *Hypervisor) prefix(name string) netip.Prefix {
	if prefix, ok := h.networks[name]; ok {
		return prefix
	}
	return netip.MustParsePrefix("203.0.113.0/24")
}

// Running returns the process ids of the running VMs.
func (h *Hypervisor) Running() []int {
	h.mu.Lock()
	defer h.mu.Unlock()
	var pids []int
	for _, d := range h.domains {
		pids = append(pids, d.PID())
	}
	return pids
}

// Close kills all running VMs and waits for their end.
func (h *Hypervisor) Close() {
	h.mu.Lock()
	h.closed = true
	for _, d := range h.domains {
		d.Cut()
	}
	h.mu.Unlock()
	h.wg.Wait()
}
