package qemu

import (
	"fmt"
	"net/netip"
	"strings"
)

// Uplink is a network that leads to this host, by QEMU's user network. Each NIC has its own network: it gets an address by DHCP,
// reaches the loopback interface of this host at the address of the router, and reaches the host's network through the host.
// Guests do not reach each other there, [Options.Datagram] does not receive their datagrams, and the NAS does not see their
// addresses.
type Uplink struct {
	// BootFile is the URL that DHCP gives to VMs that boot from the network. Default: none.
	BootFile string
}

// netdev returns the backend of a NIC.
func (u Uplink) netdev(id string, prefix netip.Prefix) string {
	router := prefix.Masked().Addr().Next()
	text := fmt.Sprintf("user,id=%s,net=%s,host=%s,dns=%s,dhcpstart=%s", id, prefix.Masked(), router, router.Next(), firstLeaseOf(prefix))
	if u.BootFile != "" {
		text += ",bootfile=" + strings.ReplaceAll(u.BootFile, ",", ",,")
	}
	return text
}
