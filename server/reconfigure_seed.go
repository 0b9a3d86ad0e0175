package server

import (
	"context"
	"errors"
	"slices"

	"sigs.k8s.io/yaml"

	"virtrigaud-provider-truenas/server/seed"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// compareSeed compares static addresses with the seed of a VM without a record of its networks. It compares no other settings:
// older releases did not write all settings to the seed, and a clone has no static address.
func (c *comparison) compareSeed(ctx context.Context) error {
	path := seedPathOf(c.vm)
	if path == "" || len(c.want.Networks) == 0 {
		return nil
	}
	configured, err := c.s.seedNetworks(ctx, path)
	if errors.Is(err, truenas.ErrPermission) || errors.Is(err, truenas.ErrNotFound) {
		return nil // The settings of the guest are unknown.
	}
	if err != nil {
		return err
	}
	cards, err := c.pair()
	if err != nil {
		return err
	}
	for _, n := range c.want.Networks {
		addresses := configured[vmrecord.MAC(cards[n.Field])]
		if len(addresses) > 0 && n.Static() && !slices.Contains(addresses, n.Address.String()) {
			return c.otherSettings(n, ".StaticIP", addresses[0])
		}
	}
	return nil
}

// seedNetworks reads the static addresses that a seed gives to each NIC, by the NIC's MAC address. An unreadable seed gives none.
func (s *Server) seedNetworks(ctx context.Context, path string) (map[string][]string, error) {
	image, err := s.seedImage(ctx, path)
	if err != nil {
		return nil, err
	}
	var plan seed.NetworkConfig
	if text, err := seed.ReadFile(image, "network-config"); err != nil || yaml.Unmarshal(text, &plan) != nil {
		return nil, nil
	}
	configured := map[string][]string{}
	for _, e := range plan.Ethernets {
		if mac, ok := spec.CanonicalMAC(e.Match["macaddress"]); ok {
			configured[mac] = e.Addresses
		}
	}
	return configured, nil
}
