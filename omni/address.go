package omni

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/omni/machine"
)

// maxRange is the maximum number of addresses in a range. A larger range is a mistake.
const maxRange = 1 << 16

// parseRange parses an address, a range such as 192.0.2.10-192.0.2.20, or a network such as 192.0.2.64/26.
func parseRange(text string) (first, last netip.Addr, err error) {
	if strings.Contains(text, "/") {
		return parseNetwork(text)
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err1 := netip.ParseAddr(strings.TrimSpace(from))
	last, err2 := netip.ParseAddr(strings.TrimSpace(to))
	if err1 != nil || err2 != nil || first.Is4() != last.Is4() || last.Less(first) {
		return first, last, fmt.Errorf("%q is neither an address, a range such as 192.0.2.10-192.0.2.20 nor a network such as 192.0.2.64/26", text)
	}
	return first, last, nil
}

// parseNetwork returns the first and the last address of a network.
func parseNetwork(text string) (first, last netip.Addr, err error) {
	network, err := netip.ParsePrefix(strings.TrimSpace(text))
	switch {
	case err != nil:
		return first, last, fmt.Errorf("%q is not a network such as 192.0.2.64/26", text)
	case network != network.Masked():
		return first, last, fmt.Errorf("%q is an address within a network; write the network as %s, or the address alone", text, network.Masked())
	}
	bytes := network.Addr().AsSlice()
	for bit := network.Bits(); bit < network.Addr().BitLen(); bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ = netip.AddrFromSlice(bytes) // The slice has the length of an address.
	return network.Addr(), last, nil
}

// checkExcluded accepts ranges of any size, because excluded addresses are compared and not counted.
func checkExcluded(text string) error {
	_, _, err := parseRange(text)
	return err
}

func checkRange(text string) error {
	first, last, err := parseRange(text)
	if err != nil {
		return err
	}
	a, count := first, 1
	for ; a != last && count <= maxRange; count++ {
		a = a.Next()
	}
	if count > maxRange {
		return fmt.Errorf("%q holds more than %d addresses", text, maxRange)
	}
	return nil
}

// allocate chooses one address for each NIC with static addresses: the first usable one that no other machine of this provider
// has.
func allocate(class Class, others map[string]*machine.MachineSpec) ([]string, error) {
	taken := class.reserved()
	for _, other := range others {
		for _, address := range other.GetAddresses() {
			taken[address] = true
		}
	}
	static := false
	addresses := make([]string, len(class.nics()))
	for i, n := range class.nics() {
		if len(n.Addresses) == 0 {
			continue
		}
		address := n.free(taken)
		if address == "" {
			return nil, operatorFault{fmt.Sprintf("all usable addresses in %s are in use; add more to ip_addresses of the machine class, or release machines", strings.Join(n.Addresses, ", "))}
		}
		addresses[i], taken[address], static = address, true, true
	}
	if !static {
		return nil, nil
	}
	return addresses, nil
}

// free returns the first address of the NIC that is not taken, or "".
func (n NIC) free(taken map[string]bool) string {
	for _, text := range n.Addresses {
		first, last, err := parseRange(text)
		if err != nil {
			continue // parseClass checked the ranges.
		}
		for a := first; ; a = a.Next() {
			if !taken[a.String()] && n.usable(a) && !n.excluded(a) {
				return a.String()
			}
			if a == last {
				break
			}
		}
	}
	return ""
}

// excluded reports whether the class excludes an address from its ranges.
func (n NIC) excluded(addr netip.Addr) bool {
	return slices.ContainsFunc(n.Exclude, func(text string) bool {
		first, last, err := parseRange(text)
		return err == nil && addr.Is4() == first.Is4() && !addr.Less(first) && !last.Less(addr)
	})
}
