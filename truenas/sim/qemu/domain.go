package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"time"

	"virtrigaud-provider-truenas/truenas/sim"
)

var errPowerIsOff = errors.New("the machine is off")

// domain is a process that runs a VM. It implements [sim.Domain].
type domain struct {
	cmd     *exec.Cmd
	control *control
	agent   *agent
	ports   []*port // of its NICs
	conns   []net.Conn
	stderr  tail
	served  sync.WaitGroup // goroutines that serve its sockets
	ended   chan struct{}  // closed when the process is gone
	cutOnce sync.Once
	cut     chan struct{} // closed when the power was cut
}

// boot starts a process.
func (h *Hypervisor) boot(m sim.Machine, accelerator string) (*domain, error) {
	d := &domain{ended: make(chan struct{}), cut: make(chan struct{})}
	var wires []wire
	a := &arguments{plug: func(w wire) int {
		wires = append(wires, w)
		return firstInherited + len(wires) - 1
	}}
	if err := a.machine(h, m, accelerator); err != nil {
		return nil, err
	}
	d.cmd = exec.Command(h.program, a.list...) //nolint:noctx // A VM runs until it is stopped.
	d.cmd.Stderr = &d.stderr
	if err := d.connect(h, m, wires); err != nil {
		d.unplug()
		return nil, err
	}
	if err := h.spawn(d, m); err != nil {
		return nil, err
	}
	return d, d.awaitReady()
}

// firstInherited is the first descriptor after the three standard ones.
const firstInherited = 3

// connect makes the sockets and starts the peers at this end of them.
func (d *domain) connect(h *Hypervisor, m sim.Machine, wires []wire) error {
	for _, w := range wires {
		ours, theirs, err := socketPair()
		if err != nil {
			return fmt.Errorf("a socket for the machine: %w", err)
		}
		d.conns = append(d.conns, ours)
		d.cmd.ExtraFiles = append(d.cmd.ExtraFiles, theirs)
		switch {
		case w.control:
			d.control = newControl(ours, d.event)
		case w.serial:
			file, err := h.consoleFile(m.Name)
			if err != nil {
				return err
			}
			d.serve(func() { h.Console(m.UUID).attach(ours, file) })
		case w.agent:
			d.agent = newAgent(ours)
		case w.storage != nil:
			d.serve(func() { _ = serveNBD(ours, w.storage) }) // the guest gets each failure
		default:
			p := h.lan(w.network).plug(ours, w.mac)
			d.ports = append(d.ports, p)
			d.serve(p.run)
		}
	}
	d.serve(d.control.listen)
	return nil
}

func (d *domain) serve(fn func()) {
	d.served.Add(1)
	go func() {
		defer d.served.Done()
		fn()
	}()
}

// spawn starts the process and waits for its end in the background.
func (h *Hypervisor) spawn(d *domain, m sim.Machine) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		d.unplug()
		return errClosed
	}
	started := make(chan error, 1)
	h.wg.Add(1)
	go func() {
		defer h.wg.Done()
		runUntilEnd(d.cmd, started)
		d.unplug()
		d.served.Wait()
		h.forget(m.UUID, d)
		close(d.ended)
		if !d.wasCut() {
			m.Off()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("QEMU does not start: %w", err)
	}
	h.domains[m.UUID] = d
	return nil
}

func (h *Hypervisor) forget(uuid string, d *domain) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.domains[uuid] == d {
		delete(h.domains, uuid)
	}
}

// awaitReady waits until the process has all its devices.
func (d *domain) awaitReady() error {
	deadline := time.NewTimer(bootDeadline)
	defer deadline.Stop()
	select {
	case <-d.control.ready:
		return nil
	case <-d.ended:
		return fmt.Errorf("QEMU gave up: %s", d.stderr.text())
	case <-deadline.C:
		d.Cut()
		<-d.ended
		return fmt.Errorf("QEMU was not ready after %v: %s", bootDeadline, d.stderr.text())
	}
}

// unplug closes both ends of every socket. The process keeps its own copies.
func (d *domain) unplug() {
	for _, c := range d.conns {
		_ = c.Close()
	}
	for _, f := range d.cmd.ExtraFiles {
		_ = f.Close()
	}
	for _, p := range d.ports {
		p.unplug()
	}
}

func (d *domain) event(name string, data json.RawMessage) { d.agent.note(name, data) }

// PID returns the id of the process.
func (d *domain) PID() int { return d.cmd.Process.Pid }

// Cut kills the process. It does not wait, because the simulator stops serving the disks of a VM that is off.
func (d *domain) Cut() {
	d.cutOnce.Do(func() {
		close(d.cut)
		_ = d.cmd.Process.Kill() // it may have ended by itself just now
	})
}

func (d *domain) wasCut() bool {
	select {
	case <-d.cut:
		return true
	default:
		return false
	}
}

// Press requests a shutdown from the guest agent if there is one, as libvirt does. Otherwise it presses the power button.
func (d *domain) Press() {
	if d.agent.listens() {
		go d.agent.shutDown()
		return
	}
	d.control.send("system_powerdown")
}

// Reset presses the reset button.
func (d *domain) Reset() { d.control.send("system_reset") }

// Pause suspends or resumes the VM.
func (d *domain) Pause(paused bool) {
	d.control.send(map[bool]string{true: "stop", false: "cont"}[paused])
}

// Interfaces queries the agent.
func (d *domain) Interfaces(ctx context.Context) ([]sim.GuestInterface, error) {
	return d.agent.interfaces(ctx)
}

// Neighbours returns the addresses of the guest that the routers have seen.
func (d *domain) Neighbours() map[netip.Addr]string {
	seen := map[netip.Addr]string{}
	for _, p := range d.ports {
		p.lan.neighbours(p, seen)
	}
	return seen
}

// tail keeps the end of a process's error output.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-1000):]
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.last))
}
