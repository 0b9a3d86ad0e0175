package qemu

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"virtrigaud-provider-truenas/truenas/sim"
)

// agentChannel is the name by which a guest agent finds its channel.
const agentChannel = "org.qemu.guest_agent.0"

// portsPerController is the number of drives per AHCI controller of QEMU.
const portsPerController = 6

// arguments builds the arguments of a QEMU process. Inherited descriptors are numbered in the order of plug.
type arguments struct {
	list   []string
	plug   func(wire) int // returns the number of the descriptor in the process
	drives int            // on AHCI controllers
	nodes  int            // block devices
	nics   int
}

// wire is one end of a socket that a process inherits, with the peer at its other end. Exactly one of the peer's fields is set.
type wire struct {
	control bool
	serial  bool
	agent   bool
	storage sim.Storage
	network string // the interface of the NAS
	mac     string // with network
}

func (a *arguments) add(words ...string) { a.list = append(a.list, words...) }

// machine adds all parts of a VM.
func (a *arguments) machine(h *Hypervisor, m sim.Machine, accelerator string) error {
	if m.TPM {
		return fmt.Errorf("machine %s: a TPM is not offered here", m.Name)
	}
	a.add("-name", m.Name, "-uuid", m.UUID, "-nodefaults", "-no-user-config", "-display", "none", "-boot", "strict=on")
	a.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	a.add("-accel", accelerator, "-cpu", cpu(m, accelerator), "-m", fmt.Sprintf("%dM", m.MemoryMiB))
	a.add("-smp", fmt.Sprintf("sockets=%d,cores=%d,threads=%d", m.Sockets, m.Cores, m.Threads))
	a.add("-rtc", map[bool]string{true: "base=localtime", false: "base=utc"}[m.LocalTime])
	if err := a.firmware(h, m); err != nil {
		return err
	}
	a.add("-chardev", fmt.Sprintf("socket,id=control,fd=%d", a.plug(wire{control: true})), "-mon", "chardev=control,mode=control")
	a.add("-chardev", fmt.Sprintf("socket,id=serial,fd=%d", a.plug(wire{serial: true})), "-serial", "chardev:serial")
	a.add("-device", "virtio-serial-pci", "-chardev", fmt.Sprintf("socket,id=channel,fd=%d", a.plug(wire{agent: true})))
	a.add("-device", "virtserialport,chardev=channel,id=agent,name="+agentChannel)
	for i, d := range m.Devices {
		if err := a.device(h, d, i+1); err != nil {
			return fmt.Errorf("machine %s: %w", m.Name, err)
		}
	}
	return nil
}

// cpu returns the processor's model and features. As on TrueNAS, the topology extension applies only to a passed-through
// processor.
func cpu(m sim.Machine, accelerator string) string {
	text := cpuModel(m, accelerator)
	if m.TopologyExtension && m.CPUMode == "HOST-PASSTHROUGH" {
		text += ",topoext=on"
	}
	if m.HideKVM {
		text += ",kvm=off"
	}
	return text
}

func cpuModel(m sim.Machine, accelerator string) string {
	switch {
	case m.CPUMode == "CUSTOM" && m.CPUModel != "":
		return m.CPUModel
	case m.CPUMode == "CUSTOM":
		return "qemu64"
	case accelerator == "kvm":
		return "host"
	}
	return "max"
}

// firmware adds the machine type, with QEMU's own BIOS or with UEFI.
func (a *arguments) firmware(h *Hypervisor, m sim.Machine) error {
	kind := m.MachineType
	if kind == "" {
		kind = "pc"
	}
	if m.SecureBoot {
		kind = "q35,smm=on"
		a.add("-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	if m.Firmware == "" {
		a.add("-machine", kind)
		return nil
	}
	vars, err := h.variables(m.UUID, filepath.Join(h.firmware, blankVariables(m)))
	if err != nil {
		return err
	}
	code := map[string]any{"driver": "file", "node-name": "code", "filename": filepath.Join(h.firmware, m.Firmware), "read-only": true}
	if err := a.blockdev(code); err != nil {
		return err
	}
	node, err := a.storage(vars)
	if err != nil {
		return err
	}
	a.add("-machine", kind+",pflash0=code,pflash1="+node)
	return nil
}

// blankVariables returns the file with the initial variables of a firmware. Those for secure boot contain the keys that sign
// current systems.
func blankVariables(m sim.Machine) string {
	name := "OVMF_VARS"
	if strings.Contains(m.Firmware, "_4M") {
		name += "_4M"
	}
	if m.SecureBoot {
		name += ".ms"
	}
	return name + ".fd"
}

// device adds a device. Drives boot in the order in which they are added.
func (a *arguments) device(h *Hypervisor, d sim.MachineDevice, order int) error {
	switch d.Kind {
	case "DISK", "RAW", "CDROM":
		return a.drive(d, order)
	case "NIC":
		id := fmt.Sprintf("net%d", a.nics)
		a.nics++
		if uplink, ok := h.uplinks[d.Attach]; ok {
			a.add("-netdev", uplink.netdev(id, h.prefix(d.Attach)))
		} else {
			a.add("-netdev", fmt.Sprintf("stream,id=%s,server=off,addr.type=fd,addr.str=%d", id, a.plug(wire{network: d.Attach, mac: d.MAC})))
		}
		model := map[string]string{"VIRTIO": "virtio-net-pci", "E1000": "e1000"}[d.Model]
		a.add("-device", fmt.Sprintf("%s,netdev=%s,mac=%s,romfile=", model, id, d.MAC))
	case "DISPLAY":
		a.add("-device", "VGA") // a display without a viewer
	default:
		return fmt.Errorf("a device of the kind %s is not offered here", d.Kind)
	}
	return nil
}

func (a *arguments) drive(d sim.MachineDevice, order int) error {
	node, err := a.storage(d.Storage)
	if err != nil {
		return err
	}
	var text string
	switch {
	case d.Kind == "CDROM":
		text = "ide-cd,bus=" + a.port()
	case d.Model == "VIRTIO":
		text = "virtio-blk-pci"
	default:
		text = "ide-hd,bus=" + a.port()
	}
	text += fmt.Sprintf(",drive=%s,bootindex=%d", node, order)
	if d.Serial != "" {
		text += ",serial=" + strings.ReplaceAll(d.Serial, ",", ",,")
	}
	if d.Logical != 0 {
		text += fmt.Sprintf(",logical_block_size=%d", d.Logical)
	}
	if d.Physical != 0 {
		text += fmt.Sprintf(",physical_block_size=%d", d.Physical)
	}
	a.add("-device", text)
	return nil
}

// port returns the next free port of the AHCI controllers, and adds controllers as needed.
func (a *arguments) port() string {
	controller, port := a.drives/portsPerController, a.drives%portsPerController
	if port == 0 {
		a.add("-device", fmt.Sprintf("ahci,id=ahci%d", controller))
	}
	a.drives++
	return fmt.Sprintf("ahci%d.%d", controller, port)
}

// storage adds a block device that NBD serves, and returns its name.
func (a *arguments) storage(s sim.Storage) (string, error) {
	node := fmt.Sprintf("node%d", a.nodes)
	a.nodes++
	server := map[string]any{"type": "fd", "str": fmt.Sprint(a.plug(wire{storage: s}))}
	return node, a.blockdev(map[string]any{"driver": "nbd", "node-name": node, "server": server, "read-only": s.ReadOnly(), "discard": "unmap"})
}

func (a *arguments) blockdev(node map[string]any) error {
	text, err := json.Marshal(node)
	if err != nil {
		return err
	}
	a.add("-blockdev", string(text))
	return nil
}
