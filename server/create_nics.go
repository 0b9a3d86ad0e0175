package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// nic is a planned network card.
type nic struct {
	order  int
	at     string // the network in the request, for messages
	attach string
	mac    string
	e1000  bool

	fits  []string // the bridges and interfaces that an existing NIC may be attached to; empty: the request names no network
	model bool     // the request names a model
	vlan  bool     // the request names a VLAN
}

// planNICs plans a card with a stable MAC address for each network.
func (p *plan) planNICs(networks []spec.Network, seen *observation, fallback string) error {
	for i, n := range networks {
		fits, err := attachFor(n, seen, fallback)
		if err != nil {
			return err
		}
		card := nic{order: hardware.OrderNIC + i, at: n.Field, attach: fits[0], mac: n.MAC, e1000: n.E1000, model: n.Model != "", vlan: n.VLAN != 0}
		if n.Attach != "" || n.VLAN != 0 {
			card.fits = fits
		}
		switch {
		case card.mac == "":
			card.mac = spec.NICMAC(p.id, i)
		case vmrecord.HasMAC(seen.vms, card.mac, p.id):
			return refusal.FailedPrecondition("%s.MacAddress: another VM on the NAS has %s", n.Field, card.mac)
		}
		p.nics = append(p.nics, card)
	}
	return nil
}

func (n nic) kind() string {
	if n.e1000 {
		return "E1000"
	}
	return "VIRTIO"
}

func (n nic) attributes() truenas.DeviceAttributes { return truenas.NIC(n.attach, n.mac, n.kind()) }

// mismatch names the field of the network in which an existing NIC differs from the request, or "".
func (n nic) mismatch(have truenas.Device) string {
	switch {
	case len(n.fits) > 0 && !slices.Contains(n.fits, have.Attributes.NICAttach):
		if n.vlan {
			return n.at + ".VLAN"
		}
		return n.at + ".Bridge"
	case n.model && have.Attributes.Type != n.kind():
		return n.at + ".Model"
	}
	return ""
}

// onto returns the attributes of an existing NIC with the requested fields replaced.
func (n nic) onto(have truenas.Device) truenas.DeviceAttributes {
	attach, kind := have.Attributes.NICAttach, have.Attributes.Type
	if len(n.fits) > 0 && !slices.Contains(n.fits, attach) {
		attach = n.attach
	}
	if n.model {
		kind = n.kind()
	}
	return truenas.NIC(attach, have.Attributes.MAC, kind)
}

// attachFor returns the bridges and interfaces that a NIC may be attached to, the best choice first. TrueNAS has no VLAN tag on a
// NIC: a tagged NIC is attached to a bridge over the VLAN's interface, or to that interface itself.
func attachFor(n spec.Network, seen *observation, fallback string) ([]string, error) {
	name := n.Attach
	if name == "" {
		name = fallback
	}
	if n.VLAN != 0 {
		return vlanAttach(n, name, seen)
	}
	switch {
	case name == "":
		return nil, refusal.InvalidArgument(n.Field+".Bridge", "must be given: no default network is configured. The NAS offers %s", choices(seen))
	case !seen.attach[name]:
		return nil, refusal.FailedPrecondition("%s.Bridge: the NAS has no %q to attach a NIC to; it offers %s", n.Field, name, choices(seen))
	}
	return []string{name}, nil
}

// vlanAttach finds the interfaces that carry a VLAN. A named bridge is either the bridge over the VLAN or the bridge that shares
// the VLAN's cable.
func vlanAttach(n spec.Network, name string, seen *observation) ([]string, error) {
	var fits []string
	for _, vlan := range seen.interfaces {
		if vlan.VLANTag != n.VLAN {
			continue
		}
		over := bridgeOver(vlan.Name, seen.interfaces)
		if name != "" && name != over && name != vlan.Name && !isOnInterface(name, vlan, seen.interfaces) {
			continue
		}
		for _, candidate := range []string{over, vlan.Name} {
			if candidate != "" && seen.attach[candidate] {
				fits = append(fits, candidate)
			}
		}
	}
	if len(fits) == 0 {
		return nil, refusal.FailedPrecondition("%s.VLAN: the NAS has no interface with VLAN tag %d%s; make a VLAN interface (and a bridge on it) there first", n.Field, n.VLAN, forNetwork(name))
	}
	return fits, nil
}

func forNetwork(name string) string {
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

// isOnInterface reports whether a VLAN's parent is the named interface or a member of that bridge.
func isOnInterface(name string, vlan truenas.Interface, interfaces []truenas.Interface) bool {
	return vlan.VLANParent == name || bridgeOver(vlan.VLANParent, interfaces) == name
}

func choices(seen *observation) string {
	if len(seen.attach) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(seen.attach)), ", ")
}

// macsOf returns the MAC addresses of NICs.
func macsOf(nics []nic) []string {
	macs := make([]string, len(nics))
	for i, n := range nics {
		macs[i] = n.mac
	}
	return macs
}
