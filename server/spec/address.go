package spec

import (
	"fmt"
	"net/netip"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
)

func parsePolicy(n *Network, j networkJSON) error {
	switch n.policy {
	case "", "dhcp":
	case "static":
		if j.StaticIP == "" {
			return refusal.InvalidArgument(n.Field+".StaticIP", "must be given with IPPolicy static")
		}
	default:
		return refusal.InvalidArgument(n.Field+".IPPolicy", "%q; allowed are dhcp and static", j.IPPolicy)
	}
	return nil
}

// parseAddress reads the prefix from its field or from the address, "192.0.2.10/24".
func parseAddress(n *Network, j networkJSON) error {
	if j.StaticIP == "" {
		if j.Gateway != "" {
			return refusal.InvalidArgument(n.Field+".Gateway", "needs StaticIP")
		}
		return nil
	}
	text, bits, inline := strings.Cut(j.StaticIP, "/")
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() {
		return refusal.InvalidArgument(n.Field+".StaticIP", "%q is not the address of a host", j.StaticIP)
	}
	if !inline {
		bits = fmt.Sprint(j.Prefix)
	}
	prefix, err := netip.ParsePrefix(text + "/" + bits)
	if err != nil || prefix.Bits() == 0 {
		return refusal.InvalidArgument(n.Field+".Prefix", "%q; allowed are 1 to %d", bits, addr.BitLen())
	}
	if inline && j.Prefix != 0 && int(j.Prefix) != prefix.Bits() {
		return refusal.InvalidArgument(n.Field+".Prefix", "%d differs from StaticIP %s", j.Prefix, j.StaticIP)
	}
	n.Address = prefix
	return nil
}

func parseGateway(n *Network, j networkJSON) error {
	if j.Gateway == "" {
		return nil
	}
	gateway, err := netip.ParseAddr(j.Gateway)
	if err != nil || gateway.Is4() != n.Address.Addr().Is4() {
		return refusal.InvalidArgument(n.Field+".Gateway", "%q is not an address of the family of StaticIP", j.Gateway)
	}
	n.Gateway = gateway
	return nil
}

func parseDNS(n *Network, j networkJSON) error {
	for _, text := range strings.FieldsFunc(j.DNS, func(r rune) bool { return r == ',' || r == ' ' }) {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return refusal.InvalidArgument(n.Field+".DNS", "%q is not an IP address; give them separated by commas", text)
		}
		n.DNS = append(n.DNS, addr)
	}
	return nil
}
