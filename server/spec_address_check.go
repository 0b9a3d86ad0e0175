package server

import (
	"net/netip"
	"slices"

	"virtrigaud-provider-truenas/server/refusal"
)

// checkAddresses refuses network settings that would take an address from another host on the network,
// give one guest two default routes, or reach the guest only in part.
func checkAddresses(networks []network) error {
	for _, n := range networks {
		for _, check := range []func() error{n.checkComplete, n.checkAddress, n.checkGateway, n.checkDNS} {
			if err := check(); err != nil {
				return err
			}
		}
	}
	return checkTogether(networks)
}

// checkComplete refuses settings that have no effect beside the others.
func (n network) checkComplete() error {
	switch {
	case n.policy == "dhcp" && n.static():
		return refusal.InvalidArgument(n.at+".IPPolicy", "dhcp contradicts StaticIP %s; use static, or remove StaticIP", n.address.Addr())
	case n.prefix != 0 && !n.static():
		return refusal.InvalidArgument(n.at+".Prefix", "needs StaticIP")
	}
	return nil
}

func (n network) checkAddress() error {
	if !n.static() {
		return nil
	}
	field, addr := n.at+".StaticIP", n.address.Addr()
	switch {
	case addr.Is4In6():
		return refusal.InvalidArgument(field, "%s: write an IPv4 address as %s", addr, addr.Unmap())
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return refusal.InvalidArgument(field, "%s is the broadcast address", addr)
	case isNetworkAddress(addr, n.address):
		return refusal.InvalidArgument(field, "%s is the address of the network %s itself", addr, n.address.Masked())
	case isBroadcast(addr, n.address):
		return refusal.InvalidArgument(field, "%s is the broadcast address of %s", addr, n.address.Masked())
	}
	return nil
}

// checkGateway accepts a gateway in the prefix, a link-local IPv6 router, and any gateway beside an
// address with a full-length prefix, as hosting networks route them.
func (n network) checkGateway() error {
	if !n.gateway.IsValid() {
		return nil
	}
	field := n.at + ".Gateway"
	switch g := n.gateway; {
	case g.IsUnspecified() || g.IsMulticast() || g.IsLoopback() || g.Is4In6() || g.Zone() != "":
		return refusal.InvalidArgument(field, "%s is not the address of a router", g)
	case g == n.address.Addr():
		return refusal.InvalidArgument(field, "%s is the guest's own address", g)
	case isNetworkAddress(g, n.address) || isBroadcast(g, n.address):
		return refusal.InvalidArgument(field, "%s is the network or broadcast address of %s", g, n.address.Masked())
	case !n.address.Contains(g) && !n.onLink() && !(g.Is6() && g.IsLinkLocalUnicast()):
		return refusal.InvalidArgument(field, "%s lies outside %s", g, n.address.Masked())
	}
	return nil
}

// onLink reports whether the gateway lies outside the prefix and is reached directly all the same.
func (n network) onLink() bool {
	return n.gateway.IsValid() && n.address.IsSingleIP() && !n.address.Contains(n.gateway)
}

// checkDNS allows loopback addresses, for a guest with a resolver of its own.
func (n network) checkDNS() error {
	for _, addr := range n.dns {
		if addr.IsUnspecified() || addr.IsMulticast() || n.static() && isBroadcast(addr, n.address) {
			return refusal.InvalidArgument(n.at+".DNS", "%s is not the address of a server", addr)
		}
	}
	return nil
}

// checkTogether compares the NICs of one VM with each other.
func checkTogether(networks []network) error {
	for i, n := range networks {
		if !n.static() {
			continue
		}
		for j, other := range networks {
			switch addr := n.address.Addr(); {
			case j < i && other.static() && other.address.Addr() == addr:
				return refusal.InvalidArgument(n.at+".StaticIP", "%s is the address of %s too", addr, other.at)
			case other.gateway == addr:
				return refusal.InvalidArgument(n.at+".StaticIP", "%s is the gateway of %s", addr, other.at)
			case slices.Contains(other.dns, addr):
				return refusal.InvalidArgument(n.at+".StaticIP", "%s is a DNS server of %s; a guest that is its own DNS server uses 127.0.0.1", addr, other.at)
			case j < i && sameFamily(n.gateway, other.gateway):
				return refusal.InvalidArgument(n.at+".Gateway", "%s has a gateway already; a guest has one default route", other.at)
			}
		}
	}
	return nil
}

func sameFamily(a, b netip.Addr) bool {
	return a.IsValid() && b.IsValid() && a.Is4() == b.Is4()
}

// isNetworkAddress reports whether addr is the first address of the network: the network itself in
// IPv4, the anycast address of its routers in IPv6. Point-to-point and host prefixes have none.
func isNetworkAddress(addr netip.Addr, network netip.Prefix) bool {
	return network.Bits() < network.Addr().BitLen()-1 && addr == network.Masked().Addr()
}

// isBroadcast reports whether addr is the last address of an IPv4 network.
func isBroadcast(addr netip.Addr, network netip.Prefix) bool {
	if !addr.Is4() || !network.Contains(addr) || network.Bits() >= addr.BitLen()-1 {
		return false
	}
	return !network.Contains(addr.Next())
}
