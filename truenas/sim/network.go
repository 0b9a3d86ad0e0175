package sim

import (
	"encoding/json"
	"fmt"
	"slices"
)

// attachable lists the interfaces that a NIC can be attached to. It includes members of bridges, although a NIC on one cannot
// work.
func (s *Sim) attachable() []string {
	names := make([]string, len(s.cfg.Interfaces))
	for n, i := range s.cfg.Interfaces {
		names[n] = i.Name
	}
	return names
}

// hasInterface reports whether a NIC on an interface can start. The empty name means the interface of the default route.
func (s *Sim) hasInterface(name string) bool {
	return name == "" || slices.ContainsFunc(s.cfg.Interfaces, func(i Interface) bool { return i.Name == name })
}

// nicChoices groups the choices by kind from 26 on.
func nicChoices(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	names := c.sim.attachable()
	if c.release() <= v25_10 {
		return sameKeys(names...), nil
	}
	kinds := map[string][]string{"BRIDGE": {}, "MACVLAN": {}}
	for _, i := range c.sim.cfg.Interfaces {
		switch {
		case !slices.Contains(names, i.Name):
		case i.Type == "BRIDGE":
			kinds["BRIDGE"] = append(kinds["BRIDGE"], i.Name)
		default:
			kinds["MACVLAN"] = append(kinds["MACVLAN"], i.Name)
		}
	}
	return kinds, nil
}

func interfaceQuery(c *call) (any, error) {
	rows := make([]map[string]any, 0, len(c.sim.cfg.Interfaces))
	for n, i := range c.sim.cfg.Interfaces {
		rows = append(rows, interfaceRow(n, i, c.release()))
	}
	return query(c, rows)
}

func interfaceGet(c *call) (any, error) {
	var id string
	var options json.RawMessage
	if err := c.args([]string{"id", "options"}, &id, &options); err != nil {
		return nil, err
	}
	for n, i := range c.sim.cfg.Interfaces {
		if i.Name == id {
			return interfaceRow(n, i, c.release()), nil
		}
	}
	return nil, missing("Interface %s does not exist", id)
}

func interfaceRow(n int, i Interface, r release) map[string]any {
	row := map[string]any{
		"id": i.Name, "name": i.Name, "fake": false, "type": i.Type, "state": interfaceState(n, i, r),
		"aliases": []any{}, "ipv4_dhcp": false, "ipv6_auto": false, "description": "", "mtu": nil,
	}
	if r >= v26 {
		row["fec_mode"] = "AUTO"
	}
	switch i.Type {
	case "BRIDGE":
		row["bridge_members"], row["enable_learning"] = append([]string{}, i.Members...), true
	case "VLAN":
		row["vlan_parent_interface"], row["vlan_tag"], row["vlan_pcp"] = i.Parent, i.Tag, nil
	}
	return row
}

func interfaceState(n int, i Interface, r release) map[string]any {
	address := fmt.Sprintf("02:00:00:00:00:%02x", n+1)
	state := map[string]any{
		"name": i.Name, "orig_name": i.Name, "description": "", "mtu": 1500, "cloned": i.Type != "PHYSICAL",
		"flags": []string{"UP", "BROADCAST", "RUNNING", "MULTICAST", "LOWER_UP"}, "nd6_flags": []any{}, "capabilities": []any{},
		"link_state": "LINK_STATE_UP", "media_type": "", "media_subtype": "", "active_media_type": "Ethernet",
		"active_media_subtype": "", "supported_media": []any{}, "media_options": nil, "link_address": address,
		"permanent_link_address": address, "hardware_link_address": address, "rx_queues": 1, "tx_queues": 1,
		"aliases": []any{}, "vrrp_config": nil,
	}
	if r >= v26 {
		state["fec_mode"] = nil
	}
	if i.Type == "VLAN" {
		state["parent"], state["tag"], state["pcp"] = i.Parent, i.Tag, 0
	}
	return state
}

// arp is core.arp: the addresses and MACs of the guests that the NAS has talked to. Guests in memory all count after their boot.
func arp(c *call) (any, error) {
	var o struct {
		IP        *string `json:"ip" sim:"nullable"`
		Interface *string `json:"interface" sim:"nullable"`
	}
	if c.release() == v25_10 && len(c.params) == 0 {
		var v invalid
		v.add("options", eINVAL, "Field required")
		return nil, v
	}
	if err := c.args([]string{"options"}, &o); err != nil {
		return nil, err
	}
	table := map[string]string{}
	for _, id := range vmIDs(c.sim.state.VMs) {
		if m := c.sim.state.VMs[id]; m.active() {
			c.sim.addARP(table, m, o.Interface)
		}
	}
	if o.IP != nil {
		mac, ok := table[*o.IP]
		clear(table)
		if ok {
			table[*o.IP] = mac
		}
	}
	return table, nil
}

// addARP adds the NICs of a guest, except macvtaps, over which host and guest cannot communicate.
func (s *Sim) addARP(table map[string]string, m *vm, only *string) {
	attached := map[string]string{} // by MAC
	for id, mac := range m.Domain.MACs {
		if nic := s.state.Devices[id]; nic != nil {
			attached[mac] = nic.attach()
		}
	}
	for ip, mac := range s.box(m).Neighbours() {
		name := attached[mac]
		bridge := slices.ContainsFunc(s.cfg.Interfaces, func(i Interface) bool { return i.Name == name && i.Type == "BRIDGE" })
		if bridge && (only == nil || name == *only) {
			table[ip.String()] = mac
		}
	}
}
