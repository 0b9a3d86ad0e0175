package qemu

import (
	"fmt"
	"net/netip"
	"strings"
)

// Uplink is a network that leads to this host, by QEMU's own user network. Each NIC has a network of its own: it gets an
// address by DHCP, and reaches the loopback interface of this host at the address of the router, and the host's network
// through the host. Guests do not reach each other there, [Options.Datagram] does not get their datagrams, and the NAS does
// not see their addresses.
type Uplink struct {
	// BootFile is the URL that DHCP gives to machines that boot the network: the network has no boot server. Default: none.
	BootFile string
}

// netdev is the backend of a NIC.
func (u Uplink) netdev(id string, prefix netip.Prefix) string {
	router := prefix.Masked().Addr().Next()
	text := fmt.Sprintf("user,id=%s,net=%s,host=%s,dns=%s,dhcpstart=%s", id, prefix.Masked(), router, router.Next(), firstLeaseOf(prefix))
	if u.BootFile != "" {
		text += ",bootfile=" + strings.ReplaceAll(u.BootFile, ",", ",,")
	}
	return text
}
