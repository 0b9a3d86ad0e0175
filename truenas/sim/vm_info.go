package sim

import (
	"fmt"
	"net/netip"
	"strings"
)

func vmAvailableMemory(c *call) (any, error) {
	var overcommit bool
	if err := c.args([]string{"overcommit?"}, &overcommit); err != nil {
		return nil, err
	}
	return max(0, c.sim.freeMemory()) << 20, nil
}

func vmMemoryInUse(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	return map[string]int64{"RNP": 0, "PRD": 0, "RPRD": c.sim.memoryInUse() << 20}, nil
}

func vmMemoryUsage(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	d, err := c.domainIn(m, running, suspended)
	if err != nil {
		return nil, err
	}
	return d.Domain.Memory << 20, nil
}

func vmDisplays(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	rows := []deviceRow{}
	for _, d := range c.sim.state.devicesOf(m.ID) {
		if d.DType != "DISPLAY" {
			continue
		}
		row := d.row(c.release())
		row.Attributes = map[string]any{"password_configured": d.text("password") != ""}
		for k, v := range d.Attributes {
			row.Attributes[k] = v
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func vmConsole(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	return fmt.Sprintf("%d_%s", m.ID, m.Config.Name), nil
}

// vmLogPath returns the path of libvirt's log. From 26 on libvirt names it by the UUID, but the middleware looks for the earlier
// name.
func vmLogPath(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil || !m.HasRun || c.release() >= v26 {
		return nil, err
	}
	return fmt.Sprintf("/var/log/libvirt/qemu/%d_%s.log", m.ID, m.Config.Name), nil
}

func vmRandomMAC(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	return c.sim.state.mac(), nil
}

func vmPortWizard(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	taken := c.sim.state.displayPorts(nil)
	return map[string]int{"port": freePort(taken), "web": freePort(taken)}, nil
}

func vmResolutions(c *call) (any, error) {
	return constant(sameKeys(strings.Split(resolutions, "|")...))(c)
}

// vmGuestInterfaces queries the guest agent, which may take time.
func vmGuestInterfaces(c *call) (any, error) {
	m, err := c.oneVM()
	if err != nil {
		return nil, err
	}
	d, err := c.domainIn(m)
	if err != nil {
		return nil, err
	}
	box := c.sim.box(d)
	c.sim.mu.Unlock()
	list, err := box.Interfaces(c.sim.ctx)
	c.sim.mu.Lock()
	if err != nil {
		return nil, fail(eFAULT, "Guest agent is not responding: %v", err)
	}
	return list, nil
}

// address parses "192.0.2.10/24". Without a prefix length it uses the default one.
func address(text string) GuestAddress {
	host, length := text, 0
	if p, err := netip.ParsePrefix(text); err == nil {
		host, length = p.Addr().String(), p.Bits()
	}
	a := GuestAddress{Address: host, Prefix: length, Type: "IPV4"}
	if strings.Contains(host, ":") {
		a.Type = "IPV6"
	}
	if length == 0 {
		a.Prefix = map[string]int{"IPV4": 24, "IPV6": 64}[a.Type]
	}
	return a
}
