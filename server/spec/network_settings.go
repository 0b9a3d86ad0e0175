package spec

import (
	"slices"
	"strings"
)

// NetworkSettings lists the settings of all networks, separated by "; ", or "none".
func NetworkSettings(networks []Network) string {
	list := make([]string, len(networks))
	for i, n := range networks {
		list[i] = n.Settings()
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, "; ")
}

// Settings returns the guest's configuration of a network as text: "192.0.2.10/24 via 192.0.2.1 dns 192.0.2.53", or "dhcp".
func (n Network) Settings() string {
	text := "dhcp"
	if n.Static() {
		text = n.Address.String()
	}
	if n.Gateway.IsValid() {
		text += " via " + n.Gateway.String()
	}
	for _, addr := range n.DNS {
		text += " dns " + addr.String()
	}
	return text
}

// Differs names the field in which a network differs from recorded settings, or returns "". It does not compare fields that the
// network omits.
func (n Network) Differs(recorded string) string {
	words := strings.Split(recorded, " ")
	var gateway string
	var dns, want []string
	for i := 1; i+1 < len(words); i += 2 {
		if words[i] == "via" {
			gateway = words[i+1]
		} else {
			dns = append(dns, words[i+1])
		}
	}
	for _, addr := range n.DNS {
		want = append(want, addr.String())
	}
	switch {
	case n.Static() && n.Address.String() != words[0]:
		return ".StaticIP"
	case n.Gateway.IsValid() && n.Gateway.String() != gateway:
		return ".Gateway"
	case len(want) > 0 && !slices.Equal(want, dns):
		return ".DNS"
	}
	return ""
}
