package spec

import (
	"net/netip"
	"slices"

	"virtrigaud-provider-truenas/server/refusal"
)

// checkAddresses refuses network settings that would take an address from another host on the network,
// give one guest two default routes, or reach the guest only in part.
func checkAddresses(networks []Network) error {
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
func (n Network) checkComplete() error {
	switch {
	case n.policy == "dhcp" && n.Static():
		return refusal.InvalidArgument(n.Field+".IPPolicy", "dhcp contradicts StaticIP %s; use static, or remove StaticIP", n.Address.Addr())
	case n.prefix != 0 && !n.Static():
		return refusal.InvalidArgument(n.Field+".Prefix", "needs StaticIP")
	}
	return nil
}

func (n Network) checkAddress() error {
	if !n.Static() {
		return nil
	}
	field, addr := n.Field+".StaticIP", n.Address.Addr()
	switch {
	case addr.Is4In6():
		return refusal.InvalidArgument(field, "%s: write an IPv4 address as %s", addr, addr.Unmap())
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return refusal.InvalidArgument(field, "%s is the broadcast address", addr)
	case isNetworkAddress(addr, n.Address):
		return refusal.InvalidArgument(field, "%s is the address of the network %s itself", addr, n.Address.Masked())
	case isBroadcast(addr, n.Address):
		return refusal.InvalidArgument(field, "%s is the broadcast address of %s", addr, n.Address.Masked())
	}
	return nil
}

// checkGateway accepts a gateway in the prefix, a link-local IPv6 router, and any gateway beside an
// address with a full-length prefix, as hosting networks route them.
func (n Network) checkGateway() error {
	if !n.Gateway.IsValid() {
		return nil
	}
	field := n.Field + ".Gateway"
	switch g := n.Gateway; {
	case g.IsUnspecified() || g.IsMulticast() || g.IsLoopback() || g.Is4In6() || g.Zone() != "":
		return refusal.InvalidArgument(field, "%s is not the address of a router", g)
	case g == n.Address.Addr():
		return refusal.InvalidArgument(field, "%s is the guest's own address", g)
	case isNetworkAddress(g, n.Address) || isBroadcast(g, n.Address):
		return refusal.InvalidArgument(field, "%s is the network or broadcast address of %s", g, n.Address.Masked())
	case !n.Address.Contains(g) && !n.OnLink() && !(g.Is6() && g.IsLinkLocalUnicast()):
		return refusal.InvalidArgument(field, "%s lies outside %s", g, n.Address.Masked())
	}
	return nil
}

// OnLink reports whether the gateway is outside the prefix and the guest still reaches it directly.
func (n Network) OnLink() bool {
	return n.Gateway.IsValid() && n.Address.IsSingleIP() && !n.Address.Contains(n.Gateway)
}

// checkDNS allows loopback addresses, for a guest with a local resolver.
func (n Network) checkDNS() error {
	for _, addr := range n.DNS {
		if addr.IsUnspecified() || addr.IsMulticast() || n.Static() && isBroadcast(addr, n.Address) {
			return refusal.InvalidArgument(n.Field+".DNS", "%s is not the address of a server", addr)
		}
	}
	return nil
}

// checkTogether compares the NICs of one VM with each other.
func checkTogether(networks []Network) error {
	for i, n := range networks {
		if !n.Static() {
			continue
		}
		for j, other := range networks {
			switch addr := n.Address.Addr(); {
			case j < i && other.Static() && other.Address.Addr() == addr:
				return refusal.InvalidArgument(n.Field+".StaticIP", "%s is the address of %s too", addr, other.Field)
			case other.Gateway == addr:
				return refusal.InvalidArgument(n.Field+".StaticIP", "%s is the gateway of %s", addr, other.Field)
			case slices.Contains(other.DNS, addr):
				return refusal.InvalidArgument(n.Field+".StaticIP", "%s is a DNS server of %s; a guest that is its own DNS server uses 127.0.0.1", addr, other.Field)
			case j < i && sameFamily(n.Gateway, other.Gateway):
				return refusal.InvalidArgument(n.Field+".Gateway", "%s has a gateway already; a guest has one default route", other.Field)
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
