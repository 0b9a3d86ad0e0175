package spec

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
)

// Network is a NIC of a VM and its address.
type Network struct {
	Name    string
	Field   string // the network's field in the request, for messages
	Attach  string // the requested bridge or interface; empty: the configured default
	VLAN    int    // 0: untagged
	Model   string // as requested, in lower case; empty: virtio
	E1000   bool
	MAC     string // empty: derived
	policy  string // as requested, in lower case
	prefix  int64  // the field Prefix of the request, or 0
	Address netip.Prefix
	Gateway netip.Addr
	DNS     []netip.Addr
}

// Static reports whether the NIC has a fixed address, which the seed has to configure.
func (n Network) Static() bool { return n.Address.IsValid() }

// Configured reports whether the guest needs settings beyond DHCP.
func (n Network) Configured() bool { return n.Static() || len(n.DNS) > 0 }

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

// ParseNetworks reads a list of networks; field is its name in the request. It checks the syntax only: an existing VM that
// was created under looser rules can still be reconfigured. Create adds [checkAddresses].
func ParseNetworks(field, text string) ([]Network, error) {
	var list []networkJSON
	if err := DecodeJSON(field, text, &list); err != nil {
		return nil, err
	}
	if len(list) > MaxNICs {
		return nil, refusal.InvalidArgument(field, "%d networks given; at most %d are allowed", len(list), MaxNICs)
	}
	networks, macs := make([]Network, 0, len(list)), map[string]bool{}
	for i, j := range list {
		n, err := parseNetwork(fmt.Sprintf("%s[%d]", field, i), j)
		if err != nil {
			return nil, err
		}
		if n.MAC != "" && macs[n.MAC] {
			return nil, refusal.InvalidArgument(n.Field+".MacAddress", "%s is given twice", n.MAC)
		}
		macs[n.MAC] = true
		networks = append(networks, n)
	}
	return networks, nil
}

func parseNetwork(at string, j networkJSON) (Network, error) {
	n := Network{Field: at, Name: j.Name, VLAN: int(j.VLAN), Model: strings.ToLower(j.Model), policy: strings.ToLower(j.IPPolicy), prefix: j.Prefix}
	if j.VLAN < 0 || j.VLAN > 4094 {
		return n, refusal.InvalidArgument(at+".VLAN", "%d; allowed are 1 to 4094, or 0 for none", j.VLAN)
	}
	if len(j.PCISlotNumber) > 0 && requestsSomething(j.PCISlotNumber) {
		return n, refusal.InvalidArgument(at+".PCISlotNumber", "cannot be honoured: TrueNAS chooses the slot")
	}
	for _, parse := range []func(*Network, networkJSON) error{parseAttach, parseModel, parseMAC, parsePolicy, parseAddress, parseGateway, parseDNS} {
		if err := parse(&n, j); err != nil {
			return n, err
		}
	}
	return n, nil
}

// parseAttach returns the name in one of the three fields for it in a network of the contract.
func parseAttach(n *Network, j networkJSON) error {
	for _, name := range []string{j.Bridge, j.NetworkName, j.Portgroup} {
		if name == "" {
			continue
		}
		if n.Attach != "" && n.Attach != name {
			return refusal.InvalidArgument(n.Field, "names two networks, %q and %q; give one", n.Attach, name)
		}
		n.Attach = name
	}
	return nil
}

func parseModel(n *Network, j networkJSON) error {
	switch n.Model {
	case "", "virtio":
	case "e1000":
		n.E1000 = true
	default:
		return refusal.InvalidArgument(n.Field+".Model", "%q; allowed are virtio and e1000", j.Model)
	}
	return nil
}

func parseMAC(n *Network, j networkJSON) error {
	if j.MacAddress == "" {
		return nil
	}
	mac, ok := CanonicalMAC(j.MacAddress)
	if !ok || !unicastMAC(mac) {
		return refusal.InvalidArgument(n.Field+".MacAddress", "%q is not the address of one Ethernet card, such as 02:00:00:12:34:56", j.MacAddress)
	}
	n.MAC = mac
	return nil
}
