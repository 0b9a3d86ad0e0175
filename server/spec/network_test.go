package spec

import (
	"fmt"
	"testing"
)

// TestSettingsOfANetwork: what is recorded of a network is compared field by field with what a request gives. A field that the
// request leaves out does not differ, and a damaged record is not read beyond its end.
func TestSettingsOfANetwork(t *testing.T) {
	static := `"StaticIP":"192.0.2.10/24"`
	for _, tt := range []struct{ network, recorded, differs string }{
		{static, "192.0.2.10/24", ""},
		{static, "192.0.2.10/25", ".StaticIP"},
		{static, "dhcp", ".StaticIP"},
		{static, "", ".StaticIP"},
		{static + `,"Gateway":"192.0.2.1"`, "192.0.2.10/24 via 192.0.2.1", ""},
		{static + `,"Gateway":"192.0.2.1"`, "192.0.2.10/24 via 192.0.2.2", ".Gateway"},
		{static + `,"Gateway":"192.0.2.1"`, "192.0.2.10/24 dns 192.0.2.1", ".Gateway"},
		{static + `,"Gateway":"192.0.2.1"`, "192.0.2.10/24 via", ".Gateway"},
		{`"DNS":"192.0.2.53,192.0.2.54"`, "dhcp dns 192.0.2.53 dns 192.0.2.54", ""},
		{`"DNS":"192.0.2.53 192.0.2.54"`, "dhcp dns 192.0.2.54 dns 192.0.2.53", ".DNS"},
		{`"DNS":"192.0.2.53"`, "dhcp dns 192.0.2.53 dns 192.0.2.54", ".DNS"},
		{`"DNS":"192.0.2.53"`, "192.0.2.10/24 via 192.0.2.1 dns 192.0.2.53", ""},
		{`"DNS":"192.0.2.53"`, "dhcp dns", ".DNS"},
		{``, "192.0.2.10/24 via 192.0.2.1 dns 192.0.2.53", ""},
	} {
		networks, err := ParseNetworks("networks_json", "[{"+tt.network+"}]")
		if err != nil {
			t.Fatal(err)
		}
		if got := networks[0].Differs(tt.recorded); got != tt.differs {
			t.Errorf("%s and %q: %q differs, want %q", tt.network, tt.recorded, got, tt.differs)
		}
	}
	networks, err := ParseNetworks("networks_json", `[{"StaticIP":"192.0.2.10/24","Gateway":"192.0.2.1","DNS":"192.0.2.53,192.0.2.54"},{},{"DNS":"192.0.2.53"}]`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := NetworkSettings(networks), "192.0.2.10/24 via 192.0.2.1 dns 192.0.2.53 dns 192.0.2.54; dhcp; dhcp dns 192.0.2.53"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := NetworkSettings(nil); got != "none" {
		t.Errorf("without networks: %q", got)
	}
	for i, want := range []bool{true, false, true} {
		if got := networks[i].Configured(); got != want {
			t.Errorf("network %d is configured: %t", i, got)
		}
	}
	for _, n := range networks {
		if n.Differs(n.Settings()) != "" {
			t.Errorf("%s differs from itself", n.Settings())
		}
	}
}

// TestParseNetworks refuses by field, and keeps what was given.
func TestParseNetworks(t *testing.T) {
	for _, tt := range []struct{ network, field, want string }{
		{`{"Bridge":"br0"}`, "", "br0 - dhcp"},
		{`{"NetworkName":"br0","Portgroup":"br0"}`, "", "br0 - dhcp"},
		{`{"Portgroup":"br1"}`, "", "br1 - dhcp"},
		{`{"Bridge":"br0","NetworkName":"br1"}`, "networks_json[0]", ""},
		{`{"Model":"E1000"}`, "", " E1000 dhcp"},
		{`{"Model":"virtio"}`, "", " - dhcp"},
		{`{"Model":"rtl8139"}`, "networks_json[0].Model", ""},
		{`{"MacAddress":"02:00:00"}`, "networks_json[0].MacAddress", ""},
		{`{"PCISlotNumber":null}`, "", " - dhcp"},
		{`{"PCISlotNumber":0}`, "", " - dhcp"},
		{`{"PCISlotNumber":3}`, "networks_json[0].PCISlotNumber", ""},
		{`{"IPPolicy":"DHCP"}`, "", " - dhcp"},
		{`{"IPPolicy":"static"}`, "networks_json[0].StaticIP", ""},
		{`{"IPPolicy":"magic"}`, "networks_json[0].IPPolicy", ""},
		{`{"Gateway":"192.0.2.1"}`, "networks_json[0].Gateway", ""},
		{`{"StaticIP":"192.0.2.10"}`, "networks_json[0].Prefix", ""},
		{`{"StaticIP":"192.0.2.10","Prefix":1}`, "", " - 192.0.2.10/1"},
		{`{"StaticIP":"192.0.2.10","Prefix":32}`, "", " - 192.0.2.10/32"},
		{`{"StaticIP":"192.0.2.10","Prefix":33}`, "networks_json[0].Prefix", ""},
		{`{"StaticIP":"192.0.2.10","Prefix":-1}`, "networks_json[0].Prefix", ""},
		{`{"StaticIP":"192.0.2.10/0"}`, "networks_json[0].Prefix", ""},
		{`{"StaticIP":"192.0.2.10/24","Prefix":24}`, "", " - 192.0.2.10/24"},
		{`{"StaticIP":"192.0.2.10/24","Prefix":25}`, "networks_json[0].Prefix", ""},
		{`{"StaticIP":"fe80::1%eth0","Prefix":64}`, "networks_json[0].StaticIP", ""},
		{`{"StaticIP":"0.0.0.0/24"}`, "networks_json[0].StaticIP", ""},
		{`{"StaticIP":"224.0.0.1/24"}`, "networks_json[0].StaticIP", ""},
		{`{"StaticIP":"127.0.0.1/24"}`, "networks_json[0].StaticIP", ""},
		{`{"StaticIP":"host/24"}`, "networks_json[0].StaticIP", ""},
		{`{"StaticIP":"192.0.2.10/24","Gateway":"router"}`, "networks_json[0].Gateway", ""},
		{`{"StaticIP":"192.0.2.10/24","Gateway":"2001:db8::1"}`, "networks_json[0].Gateway", ""},
		{`{"DNS":"192.0.2.53,resolver"}`, "networks_json[0].DNS", ""},
		{`{"DNS":", 192.0.2.53 ,"}`, "", " - dhcp dns 192.0.2.53"},
	} {
		networks, err := ParseNetworks("networks_json", "["+tt.network+"]")
		refusedFor(t, err, tt.field)
		if err != nil || len(networks) != 1 {
			continue
		}
		n, model := networks[0], "-"
		if n.E1000 {
			model = "E1000"
		}
		if got := fmt.Sprint(n.Attach, " ", model, " ", n.Settings()); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.network, got, tt.want)
		}
	}
}

// TestAddressesOfHosts checks the first and the last address of networks of each length, which belong to no host where the network has
// room for others.
func TestAddressesOfHosts(t *testing.T) {
	for _, tt := range []struct{ network, field string }{
		{`"StaticIP":"192.0.2.0/30"`, "StaticIP"}, {`"StaticIP":"192.0.2.1/30"`, ""}, {`"StaticIP":"192.0.2.2/30"`, ""}, {`"StaticIP":"192.0.2.3/30"`, "StaticIP"},
		{`"StaticIP":"192.0.2.0/31"`, ""}, {`"StaticIP":"192.0.2.1/31"`, ""}, {`"StaticIP":"192.0.2.0/32"`, ""},
		{`"StaticIP":"255.255.255.255/32"`, "StaticIP"}, {`"StaticIP":"255.255.255.255/31"`, "StaticIP"},
		{`"StaticIP":"2001:db8::/126"`, "StaticIP"}, {`"StaticIP":"2001:db8::3/126"`, ""}, {`"StaticIP":"2001:db8::/127"`, ""}, {`"StaticIP":"2001:db8::/128"`, ""},
		{`"StaticIP":"192.0.2.10/24","Gateway":"192.0.2.254"`, ""}, {`"StaticIP":"192.0.2.10/24","Gateway":"192.0.2.255"`, "Gateway"},
		{`"StaticIP":"192.0.2.10/24","Gateway":"192.0.2.0"`, "Gateway"}, {`"StaticIP":"192.0.2.10/24","Gateway":"192.0.2.10"`, "Gateway"},
		{`"StaticIP":"192.0.2.10/24","Gateway":"0.0.0.0"`, "Gateway"}, {`"StaticIP":"192.0.2.10/24","Gateway":"224.0.0.1"`, "Gateway"},
		{`"StaticIP":"192.0.2.10/32","Gateway":"127.0.0.1"`, "Gateway"}, {`"StaticIP":"2001:db8::10/64","Gateway":"fe80::1%eth0"`, "Gateway"},
		{`"StaticIP":"2001:db8::10/64","Gateway":"fe80::1"`, ""}, {`"StaticIP":"2001:db8::10/128","Gateway":"2001:db8:1::1"`, ""},
		{`"StaticIP":"192.0.2.10/24","Gateway":"169.254.0.1"`, "Gateway"},
		{`"DNS":"224.0.0.1"`, "DNS"}, {`"DNS":"0.0.0.0"`, "DNS"}, {`"DNS":"127.0.0.53"`, ""}, {`"StaticIP":"192.0.2.10/24","DNS":"192.0.2.255"`, "DNS"},
		{`"StaticIP":"192.0.2.10/24","IPPolicy":"dhcp"`, "IPPolicy"}, {`"IPPolicy":"dhcp"`, ""}, {`"Prefix":24`, "Prefix"},
	} {
		req := small()
		req.NetworksJson = "[{" + tt.network + "}]"
		_, err := Parse(req)
		if tt.field != "" {
			tt.field = "networks_json[0]." + tt.field
		}
		t.Run(tt.network, func(t *testing.T) { refusedFor(t, err, tt.field) })
	}
}
