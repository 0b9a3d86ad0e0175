package server

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
)

// network is one NIC of a VM and the address that it is given.
type network struct {
	name    string
	at      string // where it stands in the request, for messages
	attach  string // the bridge or interface asked for; empty: the configured default
	vlan    int    // 0: untagged
	model   string // as asked for, in lower case; empty: virtio
	e1000   bool
	mac     string // empty: derived
	policy  string // as asked for, in lower case
	prefix  int64  // the field Prefix as asked for, 0 when it is not
	address netip.Prefix
	gateway netip.Addr
	dns     []netip.Addr
}

// static says whether the NIC has a fixed address, which the seed has to tell the guest.
func (n network) static() bool { return n.address.IsValid() }

// configured reports whether the guest needs to be told more than to ask DHCP.
func (n network) configured() bool { return n.static() || len(n.dns) > 0 }

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

// parseNetworks reads a list of networks; field is where it stands in the request. It checks the syntax only: an existing
// VM that was made under looser rules can still be reconfigured. Create adds [checkAddresses].
func parseNetworks(field, text string) ([]network, error) {
	var list []networkJSON
	if err := decodeJSON(field, text, &list); err != nil {
		return nil, err
	}
	if len(list) > maxNICs {
		return nil, refusal.InvalidArgument(field, "%d networks given; at most %d are allowed", len(list), maxNICs)
	}
	networks, macs := make([]network, 0, len(list)), map[string]bool{}
	for i, j := range list {
		n, err := parseNetwork(fmt.Sprintf("%s[%d]", field, i), j)
		if err != nil {
			return nil, err
		}
		if n.mac != "" && macs[n.mac] {
			return nil, refusal.InvalidArgument(n.at+".MacAddress", "%s is given twice", n.mac)
		}
		macs[n.mac] = true
		networks = append(networks, n)
	}
	return networks, nil
}

func parseNetwork(at string, j networkJSON) (network, error) {
	n := network{at: at, name: j.Name, vlan: int(j.VLAN), model: strings.ToLower(j.Model), policy: strings.ToLower(j.IPPolicy), prefix: j.Prefix}
	if j.VLAN < 0 || j.VLAN > 4094 {
		return n, refusal.InvalidArgument(at+".VLAN", "%d; allowed are 1 to 4094, or 0 for none", j.VLAN)
	}
	if len(j.PCISlotNumber) > 0 && asksForSomething(j.PCISlotNumber) {
		return n, refusal.InvalidArgument(at+".PCISlotNumber", "cannot be honoured: TrueNAS chooses the slot")
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
			return refusal.InvalidArgument(n.at, "names two networks, %q and %q; give one", n.attach, name)
		}
		n.attach = name
	}
	return nil
}

func parseModel(n *network, j networkJSON) error {
	switch n.model {
	case "", "virtio":
	case "e1000":
		n.e1000 = true
	default:
		return refusal.InvalidArgument(n.at+".Model", "%q; allowed are virtio and e1000", j.Model)
	}
	return nil
}

func parseMAC(n *network, j networkJSON) error {
	if j.MacAddress == "" {
		return nil
	}
	mac, ok := canonicalMAC(j.MacAddress)
	if !ok || !unicastMAC(mac) {
		return refusal.InvalidArgument(n.at+".MacAddress", "%q is not the address of one Ethernet card, such as 02:00:00:12:34:56", j.MacAddress)
	}
	n.mac = mac
	return nil
}
