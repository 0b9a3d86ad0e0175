package talosconfig

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Limits of an MTU: the IPv6 minimum, which Talos's connection to Omni needs, and the maximum of common switches.
const (
	MinMTU = 1280
	MaxMTU = 9216
)

// NIC is a network card with an MTU of its own.
type NIC struct {
	MAC  string
	MTU  int64
	DHCP bool // it has no static address
}

type device struct {
	Selector struct {
		Address string `yaml:"hardwareAddr"`
	} `yaml:"deviceSelector"`
	MTU  int64 `yaml:"mtu"`
	DHCP bool  `yaml:"dhcp,omitempty"`
}

// MTU makes the patch that sets the MTU of NICs, or nil without NICs.
func MTU(nics []NIC) ([]byte, error) {
	if len(nics) == 0 {
		return nil, nil
	}
	devices := make([]device, len(nics))
	for i, n := range nics {
		devices[i].Selector.Address, devices[i].MTU, devices[i].DHCP = n.MAC, n.MTU, n.DHCP
	}
	return encode(map[string]any{"machine": map[string]any{"network": map[string]any{"interfaces": devices}}})
}

// Subnets makes the patch by which the kubelet, and on control planes etcd, select their addresses by subnet. It returns nil
// without subnets. Talos refuses the entire configuration of a worker that configures etcd.
func Subnets(subnets []string, controlPlane bool) ([]byte, error) {
	if len(subnets) == 0 {
		return nil, nil
	}
	patch := map[string]any{"machine": map[string]any{"kubelet": map[string]any{"nodeIP": map[string]any{"validSubnets": subnets}}}}
	if controlPlane {
		patch["cluster"] = map[string]any{"etcd": map[string]any{"advertisedSubnets": subnets}}
	}
	return encode(patch)
}

// excluding is the prefix of an excluded subnet.
const excluding = "!"

// CheckSubnet accepts a subnet such as 192.0.2.0/24, or an excluded one such as !192.0.2.5/32.
func CheckSubnet(text string) error {
	prefix, err := netip.ParsePrefix(strings.TrimPrefix(text, excluding))
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a subnet such as 192.0.2.0/24, or !192.0.2.5/32 for one that is excluded", text)
	case prefix.Addr().Is4In6():
		return fmt.Errorf("%q: write IPv4 subnets as %s", text, prefix.Addr().Unmap())
	case prefix != prefix.Masked():
		return fmt.Errorf("%q is an address within a subnet; write the subnet as %s", text, prefix.Masked())
	}
	return nil
}

// CheckSubnets refuses a list of checked subnets that allows no address, or of which Talos ignores a part.
func CheckSubnets(subnets []string) error {
	var excluded string
	for _, text := range subnets {
		if strings.HasPrefix(text, excluding) {
			excluded = text
		} else if excluded != "" {
			return fmt.Errorf("%q follows the excluded subnet %q; excluded subnets come last", text, excluded)
		}
	}
	if len(subnets) > 0 && strings.HasPrefix(subnets[0], excluding) {
		return errors.New("all subnets are excluded; give one that is not")
	}
	return nil
}

// Reaches reports whether a range of addresses overlaps one of the subnets that are not excluded.
func Reaches(subnets []string, first, last netip.Addr) bool {
	for _, text := range subnets {
		prefix, err := netip.ParsePrefix(text) // Excluded subnets do not parse.
		if err == nil && (prefix.Contains(first) || prefix.Contains(last) || !prefix.Addr().Less(first) && !last.Less(prefix.Addr())) {
			return true
		}
	}
	return false
}

// encode writes a document with the indentation of Talos's own documents.
func encode(document any) ([]byte, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(document); err != nil {
		return nil, fmt.Errorf("encode patch of the machine configuration: %w", err)
	}
	return b.Bytes(), encoder.Close()
}
