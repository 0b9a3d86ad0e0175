package server_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// riskyAddresses are well-formed settings that would take an address from another host, or reach the guest in part.
func riskyAddresses() []badCreate {
	const bad = codes.InvalidArgument
	ip := func(address string, more string) func(*providerv1.CreateRequest) {
		return nic(`"StaticIP":"` + address + `"` + more)
	}
	gateway := func(g string) string { return `,"Gateway":"` + g + `"` }
	dns := func(list string) string { return `,"DNS":"` + list + `"` }
	two := func(first, second string) func(*providerv1.CreateRequest) {
		return networks(`[{"Bridge":"br0",` + first + `},{"Bridge":"br0",` + second + `}]`)
	}
	const first = `"StaticIP":"192.0.2.10/24"`
	return []badCreate{
		{"the gateway's address", ip("192.0.2.1/24", gateway("192.0.2.1")), bad, []string{"networks_json[0].Gateway: ", "own"}},
		{"the network's address", ip("192.0.2.0/24", ""), bad, []string{"networks_json[0].StaticIP: ", "192.0.2.0/24"}},
		{"the network's address in IPv6", ip("2001:db8::/64", ""), bad, []string{"networks_json[0].StaticIP: ", "2001:db8::/64"}},
		{"the broadcast address", ip("192.0.2.255/24", ""), bad, []string{"networks_json[0].StaticIP: ", "broadcast"}},
		{"the broadcast address of a /30", ip("192.0.2.11/30", ""), bad, []string{"networks_json[0].StaticIP: ", "broadcast"}},
		{"the broadcast address of all networks", ip("255.255.255.255/32", ""), bad, []string{"networks_json[0].StaticIP: "}},
		{"a DNS server's address", ip("192.0.2.53/24", dns("192.0.2.53")), bad, []string{"networks_json[0].StaticIP: ", "DNS"}},
		{"an IPv4 address in IPv6 notation", ip("::ffff:192.0.2.10/120", ""), bad, []string{"networks_json[0].StaticIP: ", "192.0.2.10"}},
		{"an IPv6 prefix length", ip("192.0.2.10/64", ""), bad, []string{"networks_json[0].Prefix: ", "32"}},
		{"a gateway outside the prefix", ip("192.0.2.10/24", gateway("198.51.100.1")), bad, []string{"networks_json[0].Gateway: ", "192.0.2.0/24"}},
		{"an IPv6 gateway outside the prefix", ip("2001:db8::10/64", gateway("2001:db8:1::1")), bad, []string{"networks_json[0].Gateway: "}},
		{"the network's address as gateway", ip("192.0.2.10/24", gateway("192.0.2.0")), bad, []string{"networks_json[0].Gateway: "}},
		{"the broadcast address as gateway", ip("192.0.2.10/24", gateway("192.0.2.255")), bad, []string{"networks_json[0].Gateway: "}},
		{"loopback as gateway", ip("192.0.2.10/32", gateway("127.0.0.1")), bad, []string{"networks_json[0].Gateway: "}},
		{"the unspecified address as DNS server", nic(`"DNS":"0.0.0.0"`), bad, []string{"networks_json[0].DNS: "}},
		{"the broadcast address as DNS server", ip("192.0.2.10/24", dns("192.0.2.255")), bad, []string{"networks_json[0].DNS: "}},
		{"DHCP beside an address", nic(`"IPPolicy":"dhcp","StaticIP":"192.0.2.10/24"`), bad, []string{"networks_json[0].IPPolicy: "}},
		{"a prefix without an address", nic(`"Prefix":24`), bad, []string{"networks_json[0].Prefix: "}},
		{"one address on two NICs", two(first, first), bad, []string{"networks_json[1].StaticIP: ", "networks_json[0]"}},
		{"the gateway of the other NIC", two(`"StaticIP":"198.51.100.10/24","Gateway":"198.51.100.1"`, `"StaticIP":"198.51.100.1/24"`), bad, []string{"networks_json[1].StaticIP: ", "gateway"}},
		{"the DNS server of the other NIC", two(`"DNS":"192.0.2.10"`, first), bad, []string{"networks_json[1].StaticIP: ", "DNS"}},
		{"two default routes", two(first+gateway("192.0.2.1"), `"StaticIP":"198.51.100.10/24"`+gateway("198.51.100.1")), bad, []string{"networks_json[1].Gateway: ", "default route"}},
	}
}

// TestUsefulAddresses checks that the rules accept similar settings that work.
func TestUsefulAddresses(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"point to point":               `[{"Bridge":"br0","StaticIP":"192.0.2.10/31","Gateway":"192.0.2.11"}]`,
		"a routed address":             `[{"Bridge":"br0","StaticIP":"192.0.2.10/32","Gateway":"198.51.100.1"}]`,
		"a link-local IPv6 router":     `[{"Bridge":"br0","StaticIP":"2001:db8::10/64","Gateway":"fe80::1"}]`,
		"a resolver in the guest":      `[{"Bridge":"br0","StaticIP":"192.0.2.53/24","DNS":"127.0.0.1"}]`,
		"a gateway per family":         `[{"Bridge":"br0","StaticIP":"192.0.2.10/24","Gateway":"192.0.2.1"},{"Bridge":"br0","StaticIP":"2001:db8::10/64","Gateway":"2001:db8::1"}]`,
		"DNS servers on a DHCP NIC":    `[{"Bridge":"br0","DNS":"192.0.2.53"}]`,
		"a MAC address of its own":     `[{"Bridge":"br0","MacAddress":"02-00-00-00-0C-0D"}]`,
		"a policy beside an address":   `[{"Bridge":"br0","IPPolicy":"static","StaticIP":"192.0.2.10","Prefix":24}]`,
		"addresses on two NICs of one": `[{"Bridge":"br0","StaticIP":"192.0.2.10/24","Gateway":"192.0.2.1"},{"Bridge":"br0","StaticIP":"192.0.2.11/24"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			client, nas := onRelease(t, "25.10")
			addImage(t, nas)
			req := good()
			req.NetworksJson = text
			for range 2 {
				if _, err := client.Create(t.Context(), req); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
