package disk

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
)

// guard refuses addresses that a user's URL must not reach: the provider's host, and the services of clouds and networks on
// link-local addresses. It checks the dialed address, so that neither a redirect nor a name that resolves to such an address
// circumvents it.
type guard struct {
	allow []netip.Prefix
}

// metadata are services at ordinary addresses that give credentials to any client: Azure's wire server, Alibaba's and Oracle's
// metadata, and AWS's over IPv6.
var metadata = []netip.Addr{
	netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("100.100.100.200"),
	netip.MustParseAddr("192.0.0.192"),
	netip.MustParseAddr("fd00:ec2::254"),
}

// translated are IPv6 ranges that embed an IPv4 address (RFC 6052, RFC 3056), with the index of its first byte.
var translated = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("::/96"), 12},
}

var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

// control is a [net.Dialer]'s Control: it is called with every address before a connection is made to it.
func (g guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return refusal(ErrRefused, "address %q is not of the form IP:port", address)
	}
	return g.check(ap.Addr())
}

// checkURL refuses hosts that are literal addresses before any query of a name server or a proxy. Spellings that only some
// resolvers accept (decimal, octal, hexadecimal, shortened) count as their addresses.
func (g guard) checkURL(u *url.URL) error {
	host := strings.TrimSuffix(u.Hostname(), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.check(addr)
	}
	if addr, ok := looseIPv4(host); ok {
		return g.check(addr)
	}
	return nil
}

// check refuses a forbidden address, unless it is allowed explicitly.
func (g guard) check(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	for _, prefix := range g.allow {
		if prefix.Contains(addr) {
			return nil
		}
	}
	if kind := forbidden(addr); kind != "" {
		return refusal(ErrRefused, "%s is a %s address", addr, kind)
	}
	return nil
}

// forbidden returns the reason to refuse a connection to addr, or "".
func forbidden(addr netip.Addr) string {
	for _, m := range metadata {
		if addr == m {
			return "cloud metadata"
		}
	}
	switch {
	case addr.IsLoopback():
		return "loopback"
	case addr.IsLinkLocalUnicast(), addr.IsLinkLocalMulticast(), addr.IsInterfaceLocalMulticast():
		return "link-local"
	case addr.IsMulticast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "multicast or broadcast"
	case addr.IsUnspecified(), thisNetwork.Contains(addr):
		return "unspecified"
	}
	for _, t := range translated {
		if t.prefix.Contains(addr) {
			bytes := addr.As16()
			return forbidden(netip.AddrFrom4([4]byte(bytes[t.at : t.at+4])))
		}
	}
	return ""
}

// looseIPv4 parses the forms of inet_aton(3): one to four numbers, each decimal, octal (0…) or hexadecimal (0x…), of which the last
// fills the remaining bytes.
func looseIPv4(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		number, err := strconv.ParseUint(part, 0, bits)
		if err != nil || strings.ContainsAny(part, "_+") {
			return netip.Addr{}, false
		}
		value = value<<bits | number
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), true
}

// dialer returns a dialer that connects only to permitted addresses.
func (g guard) dialer() *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, Control: g.control}
}
