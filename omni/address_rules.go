package omni

import (
	"fmt"
	"net/netip"
)

// usable reports whether a host may have the address. In a network with more than two addresses, the first address and, in IPv4,
// the last one are reserved.
func (n NIC) usable(addr netip.Addr) bool {
	network, err := addr.Prefix(int(n.Prefix))
	if err != nil {
		return false
	}
	if network.Bits() >= addr.BitLen()-1 {
		return true
	}
	return addr != network.Addr() && (addr.Is6() || network.Contains(addr.Next()))
}

// reserved returns the addresses of routers and DNS servers, which no machine may get.
func (c Class) reserved() map[string]bool {
	reserved := map[string]bool{}
	for _, n := range c.nics() {
		for _, text := range append([]string{n.Gateway}, n.DNS...) {
			if addr, err := netip.ParseAddr(text); err == nil {
				reserved[addr.String()] = true
			}
		}
	}
	return reserved
}

// prefixMistakes compares the addresses with the prefix length and the gateway.
func (n NIC) prefixMistakes(at string) []string {
	gateway, _ := netip.ParseAddr(n.Gateway)
	for i, text := range n.Addresses {
		first, last, err := parseRange(text)
		if err != nil {
			continue // The check of the field reports it.
		}
		field, network := fmt.Sprintf("%sip_addresses[%d]", at, i), netip.PrefixFrom(first, int(n.Prefix))
		switch {
		case first.Is4In6() || last.Is4In6():
			return []string{fmt.Sprintf("%s is %q; write IPv4 addresses as %s", field, text, first.Unmap())}
		case !network.IsValid():
			return []string{fmt.Sprintf("%s is %q, for which ip_prefix may be 1 to %d, not %d", field, text, first.BitLen(), n.Prefix)}
		case !network.IsSingleIP() && !network.Contains(last):
			return []string{fmt.Sprintf("%s is %q, which is more than one network of ip_prefix %d", field, text, n.Prefix)}
		case n.Gateway != "" && !reaches(network, gateway):
			return []string{fmt.Sprintf("%sip_gateway %s lies outside %s, the network of %q", at, n.Gateway, network.Masked(), text)}
		}
	}
	return nil
}

// reaches reports whether hosts of a network can use a gateway: a member of the network, a link-local IPv6 router, or any gateway
// for hosts with full-length prefixes.
func reaches(network netip.Prefix, gateway netip.Addr) bool {
	if gateway.Is4() != network.Addr().Is4() {
		return false
	}
	return network.Contains(gateway) || network.IsSingleIP() || gateway.Is6() && gateway.IsLinkLocalUnicast()
}

// addressMistakes returns conflicts between NICs, and ranges without a usable address.
func (c Class) addressMistakes() []string {
	var wrong []string
	routes := map[bool]bool{} // by whether they are IPv4
	reserved := c.reserved()
	for i, n := range c.nics() {
		at := ""
		if i > 0 {
			at = fmt.Sprintf("additional_nics[%d].", i-1)
		}
		if gateway, err := netip.ParseAddr(n.Gateway); err == nil {
			if routes[gateway.Is4()] {
				wrong = append(wrong, at+"ip_gateway: another network card has a gateway already; a machine has one default route")
			}
			routes[gateway.Is4()] = true
		}
		if len(n.Addresses) > 0 && n.free(reserved) == "" {
			wrong = append(wrong, at+"ip_addresses holds only addresses of the network, its gateway and its DNS servers, and excluded ones")
		}
	}
	return wrong
}
