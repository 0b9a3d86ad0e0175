package server

import (
	"context"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// compareNICs compares the networks with the VM's NICs. It does not compare what a network omits, and ignores a NIC that a user
// added.
func (c *comparison) compareNICs(ctx context.Context) error {
	cards, err := c.pair()
	if err != nil {
		return err
	}
	seen := &observation{}
	if slices.ContainsFunc(c.want.Networks, func(n spec.Network) bool { return c.needsOtherAttachment(n, cards[n.Field]) }) {
		if seen.attach, err = c.s.observeAttach(ctx); err != nil {
			return err
		}
		if tagged(c.want.Networks) {
			if seen.interfaces, err = c.s.nas.System.Interfaces(ctx); err != nil {
				return err
			}
		}
	}
	for _, n := range c.want.Networks {
		have := cards[n.Field]
		card := nic{at: n.Field, e1000: n.E1000, model: n.Model != "", vlan: n.VLAN != 0}
		if c.needsOtherAttachment(n, have) {
			fits, err := attachFor(n, seen, "")
			if err != nil {
				return err
			}
			card.fits, card.attach = fits, fits[0]
		}
		if field := card.mismatch(have); field != "" {
			c.devices[have.ID] = card.onto(have)
			c.needsOff("%s", field)
		}
	}
	return nil
}

// needsOtherAttachment reports whether a network needs another attachment than the NIC has. The interface of a VLAN needs a lookup.
func (c *comparison) needsOtherAttachment(n spec.Network, have truenas.Device) bool {
	return n.VLAN != 0 || n.Attach != "" && n.Attach != have.Attributes.NICAttach
}

// pair finds the NIC of each network, by the network's field in the request: the NIC with the requested or derived address, or
// else, for a VM that another client made, the next NIC in order.
func (c *comparison) pair() (map[string]truenas.Device, error) {
	var free []truenas.Device
	for _, d := range inOrderOf(c.vm.Devices) {
		if d.Attributes.DType == truenas.DeviceNIC {
			free = append(free, d)
		}
	}
	cards := map[string]truenas.Device{}
	take := func(n spec.Network, fits func(truenas.Device) bool) bool {
		i := slices.IndexFunc(free, fits)
		if i < 0 {
			return false
		}
		cards[n.Field] = free[i]
		free = slices.Delete(free, i, i+1)
		return true
	}
	var rest []spec.Network
	for i, n := range c.want.Networks {
		mac := spec.NICMAC(c.vm.UUID, i)
		if n.MAC != "" {
			mac = n.MAC
		}
		switch {
		case take(n, func(d truenas.Device) bool { return vmrecord.MAC(d) == mac }):
		case n.MAC != "":
			return nil, refusal.FailedPrecondition("%s.MacAddress: VM %q has no NIC with %s; the address of a NIC cannot be changed", n.Field, vmrecord.Name(c.vm), n.MAC)
		default:
			rest = append(rest, n)
		}
	}
	for _, n := range rest {
		if !take(n, func(truenas.Device) bool { return true }) {
			return nil, refusal.FailedPrecondition("%s: VM %q has %d NICs, %d are desired; NICs are not added", n.Field, vmrecord.Name(c.vm), len(cards), len(c.want.Networks))
		}
	}
	return cards, c.checkRemoved(free)
}

// checkRemoved refuses a list of networks that is shorter than the list of NICs that the provider made. An empty list requests
// nothing, unless the VM was made with other networks: see [comparison.compareSettings].
func (c *comparison) checkRemoved(left []truenas.Device) error {
	if len(c.want.Networks) == 0 {
		return nil
	}
	for i := len(c.want.Networks); i < spec.MaxNICs; i++ {
		if mac := spec.NICMAC(c.vm.UUID, i); slices.ContainsFunc(left, func(d truenas.Device) bool { return vmrecord.MAC(d) == mac }) {
			return refusal.FailedPrecondition("desired_json.Networks: VM %q has NIC %s for a network that is not desired; NICs are not removed", vmrecord.Name(c.vm), mac)
		}
	}
	return nil
}

func inOrderOf(devices []truenas.Device) []truenas.Device {
	sorted := slices.Clone(devices)
	slices.SortStableFunc(sorted, func(a, b truenas.Device) int { return a.Order - b.Order })
	return sorted
}

// compareSettings refuses changes of addresses, gateways and DNS servers, because the guest reads them at its first start. The VM's
// dataset records them; the seed has those of a VM of an older release.
func (c *comparison) compareSettings(ctx context.Context) error {
	property := c.datasets[c.home].LocalUserProperties[propNetworks]
	if property == "" {
		return c.compareSeed(ctx)
	}
	recorded := strings.Split(property, "; ")
	if property == "none" {
		recorded = nil
	}
	if len(recorded) != len(c.want.Networks) {
		return refusal.FailedPrecondition("desired_json.Networks: VM %q was made with %d networks, %d are desired; NICs are neither added nor removed", vmrecord.Name(c.vm), len(recorded), len(c.want.Networks))
	}
	for i, n := range c.want.Networks {
		if field := n.Differs(recorded[i]); field != "" {
			return c.otherSettings(n, field, recorded[i])
		}
	}
	return nil
}

func (c *comparison) otherSettings(n spec.Network, field, recorded string) error {
	return refusal.FailedPrecondition("%s%s: the guest of VM %q has %s, not %s: it reads its network settings at its first start. Change them in the guest, or delete the VM", n.Field, field, vmrecord.Name(c.vm), recorded, n.Settings())
}
