package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/truenas"
)

// planNICs gives every network its card, with an address that never changes.
func (p *plan) planNICs(networks []network, seen *observation, fallback string) error {
	for i, n := range networks {
		attach, err := attachFor(n, seen, fallback)
		if err != nil {
			return err
		}
		card := nic{order: orderNIC + i, attach: attach, mac: n.mac, e1000: n.e1000}
		switch {
		case card.mac == "":
			card.mac = nicMAC(p.id, i)
		case hasMAC(seen.vms, card.mac, p.id):
			return conflict("%s.MacAddress: another VM on the NAS has %s", n.at, card.mac)
		}
		p.nics = append(p.nics, card)
	}
	return nil
}

// attachFor answers what a NIC is attached to. TrueNAS has no VLAN tag on a NIC: a tagged one
// is attached to a bridge over the VLAN's interface, or to that interface itself.
func attachFor(n network, seen *observation, fallback string) (string, error) {
	name := n.attach
	if name == "" {
		name = fallback
	}
	if n.vlan != 0 {
		return vlanAttach(n, name, seen)
	}
	switch {
	case name == "":
		return "", invalid(n.at+".Bridge", "must be given: no default network is configured. The NAS offers %s", choices(seen))
	case !seen.attach[name]:
		return "", conflict("%s.Bridge: the NAS has no %q to attach a NIC to; it offers %s", n.at, name, choices(seen))
	}
	return name, nil
}

// vlanAttach finds the interface that carries a VLAN. A bridge may be named either as the one
// over the VLAN or as the one whose cable the VLAN shares.
func vlanAttach(n network, name string, seen *observation) (string, error) {
	for _, vlan := range seen.interfaces {
		if vlan.VLANTag != n.vlan {
			continue
		}
		over := bridgeOver(vlan.Name, seen.interfaces)
		if name != "" && name != over && name != vlan.Name && !sharesCable(name, vlan, seen.interfaces) {
			continue
		}
		for _, candidate := range []string{over, vlan.Name} {
			if candidate != "" && seen.attach[candidate] {
				return candidate, nil
			}
		}
	}
	return "", conflict("%s.VLAN: the NAS has no interface with VLAN tag %d%s; make a VLAN interface (and a bridge on it) there first", n.at, n.vlan, beside(name))
}

func beside(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" for %q", name)
}

func bridgeOver(member string, interfaces []truenas.Interface) string {
	for _, i := range interfaces {
		if slices.Contains(i.BridgeMembers, member) {
			return i.Name
		}
	}
	return ""
}

// sharesCable says whether a VLAN's parent is the named interface or a member of that bridge.
func sharesCable(name string, vlan truenas.Interface, interfaces []truenas.Interface) bool {
	return vlan.VLANParent == name || bridgeOver(vlan.VLANParent, interfaces) == name
}

func choices(seen *observation) string {
	if len(seen.attach) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(seen.attach)), ", ")
}
