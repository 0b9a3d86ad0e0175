package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// network is one NIC of a VM and the address that it is given.
type network struct {
	name    string
	at      string // where it stands in the request, for messages
	attach  string // the bridge or interface asked for; empty: the configured default
	vlan    int    // 0: untagged
	e1000   bool
	mac     string // empty: derived
	address netip.Prefix
	gateway netip.Addr
	dns     []netip.Addr
}

// static says whether the NIC has a fixed address, which the seed has to tell the guest.
func (n network) static() bool { return n.address.IsValid() }

type networkJSON struct {
	Name          string
	Portgroup     string
	NetworkName   string
	Bridge        string
	VLAN          int64
	Model         string
	MacAddress    string
	IPPolicy      string
	StaticIP      string
	Prefix        int64
	Gateway       string
	DNS           string
	PCISlotNumber json.RawMessage
}

// parseNetworks reads networks_json.
func parseNetworks(text string) ([]network, error) {
	const field = "networks_json"
	var list []networkJSON
	if err := decodeJSON(field, text, &list); err != nil {
		return nil, err
	}
	if len(list) > maxNICs {
		return nil, invalid(field, "%d networks given; at most %d are allowed", len(list), maxNICs)
	}
	networks, macs := make([]network, 0, len(list)), map[string]bool{}
	for i, j := range list {
		n, err := parseNetwork(fmt.Sprintf("%s[%d]", field, i), j)
		if err != nil {
			return nil, err
		}
		if n.mac != "" && macs[n.mac] {
			return nil, invalid(n.at+".MacAddress", "%s is given twice", n.mac)
		}
		macs[n.mac] = true
		networks = append(networks, n)
	}
	return networks, nil
}

func parseNetwork(at string, j networkJSON) (network, error) {
	n := network{at: at, name: j.Name, vlan: int(j.VLAN)}
	if j.VLAN < 0 || j.VLAN > 4094 {
		return n, invalid(at+".VLAN", "%d; allowed are 1 to 4094, or 0 for none", j.VLAN)
	}
	if len(j.PCISlotNumber) > 0 && asksForSomething(j.PCISlotNumber) {
		return n, invalid(at+".PCISlotNumber", "cannot be honoured: TrueNAS chooses the slot")
	}
	for _, parse := range []func(*network, networkJSON) error{parseAttach, parseModel, parseMAC, parsePolicy, parseAddress, parseGateway, parseDNS} {
		if err := parse(&n, j); err != nil {
			return n, err
		}
	}
	return n, nil
}

// parseAttach takes the one name given of the three that the contract has for a network.
func parseAttach(n *network, j networkJSON) error {
	for _, name := range []string{j.Bridge, j.NetworkName, j.Portgroup} {
		if name == "" {
			continue
		}
		if n.attach != "" && n.attach != name {
			return invalid(n.at, "names two networks, %q and %q; give one", n.attach, name)
		}
		n.attach = name
	}
	return nil
}

func parseModel(n *network, j networkJSON) error {
	switch strings.ToLower(j.Model) {
	case "", "virtio":
	case "e1000":
		n.e1000 = true
	default:
		return invalid(n.at+".Model", "%q; allowed are virtio and e1000", j.Model)
	}
	return nil
}

func parseMAC(n *network, j networkJSON) error {
	if j.MacAddress == "" {
		return nil
	}
	mac, err := net.ParseMAC(j.MacAddress)
	if err != nil || len(mac) != 6 || mac[0]&1 == 1 || bytes.Equal(mac, make([]byte, 6)) {
		return invalid(n.at+".MacAddress", "%q is not the address of one Ethernet card, such as 02:00:00:12:34:56", j.MacAddress)
	}
	n.mac = mac.String()
	return nil
}

func parsePolicy(n *network, j networkJSON) error {
	switch strings.ToLower(j.IPPolicy) {
	case "", "dhcp":
	case "static":
		if j.StaticIP == "" {
			return invalid(n.at+".StaticIP", "must be given with IPPolicy static")
		}
	default:
		return invalid(n.at+".IPPolicy", "%q; allowed are dhcp and static", j.IPPolicy)
	}
	return nil
}

// parseAddress takes the prefix from its own field or from the address, "192.0.2.10/24".
func parseAddress(n *network, j networkJSON) error {
	if j.StaticIP == "" {
		if j.Gateway != "" {
			return invalid(n.at+".Gateway", "needs StaticIP")
		}
		return nil
	}
	text, bits, inline := strings.Cut(j.StaticIP, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() {
		return invalid(n.at+".StaticIP", "%q is not the address of a host", j.StaticIP)
	}
	if !inline {
		bits = fmt.Sprint(j.Prefix)
	}
	prefix, err := netip.ParsePrefix(text + "/" + bits)
	if err != nil || prefix.Bits() == 0 {
		return invalid(n.at+".Prefix", "%q; allowed are 1 to %d", bits, addr.BitLen())
	}
	if inline && j.Prefix != 0 && int(j.Prefix) != prefix.Bits() {
		return invalid(n.at+".Prefix", "%d differs from StaticIP %s", j.Prefix, j.StaticIP)
	}
	n.address = prefix
	return nil
}

func parseGateway(n *network, j networkJSON) error {
	if j.Gateway == "" {
		return nil
	}
	gateway, err := netip.ParseAddr(j.Gateway)
	if err != nil || gateway.Is4() != n.address.Addr().Is4() {
		return invalid(n.at+".Gateway", "%q is not an address of the family of StaticIP", j.Gateway)
	}
	n.gateway = gateway
	return nil
}

func parseDNS(n *network, j networkJSON) error {
	for _, text := range strings.FieldsFunc(j.DNS, func(r rune) bool { return r == ',' || r == ' ' }) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return invalid(n.at+".DNS", "%q is not an IP address; give them separated by commas", text)
		}
		n.dns = append(n.dns, addr)
	}
	return nil
}
