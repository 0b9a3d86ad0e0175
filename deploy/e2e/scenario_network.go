package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"
)

// fixed is a VM with a fixed address on the first network of the examples, and the VLAN as the second.
const fixed = `
apiVersion: infra.virtrigaud.io/v1beta1
kind: VirtualMachine
metadata: {name: fixed}
spec:
  providerRef: {name: truenas-machine}
  classRef: {name: small}
  imageRef: {name: debian-12}
  powerState: "On"
  networks:
    - {name: eth0, networkRef: {name: lan}, ipAddress: 192.0.2.20, prefix: 24, gateway: 192.0.2.1, dns: 192.0.2.53}
    - {name: eth1, networkRef: {name: vlan20}}
  userData:
    cloudInit:
      inline: |
        #cloud-config
        hostname: fixed
---`

// machineNetworks checks the networks on the NAS: NICs on the bridges of both attachments, and the address in the seed.
func machineNetworks(ctx context.Context, s *stage, n *nas) error {
	if err := s.apply(ctx, fixed); err != nil {
		return err
	}
	if err := s.waitPower(ctx, "fixed", "On"); err != nil {
		return err
	}
	v, err := n.vm(ctx, "fixed")
	if err != nil {
		return err
	}
	var all []struct {
		VM         int `json:"vm"`
		Attributes struct {
			Kind   string `json:"dtype"`
			Bridge string `json:"nic_attach"`
			Path   string `json:"path"`
		} `json:"attributes"`
	}
	if err := n.call(ctx, &all, "vm.device.query"); err != nil {
		return err
	}
	var bridges []string
	var seed []byte
	for _, d := range all {
		switch {
		case d.VM != v.ID:
		case d.Attributes.Kind == "NIC":
			bridges = append(bridges, d.Attributes.Bridge)
		case d.Attributes.Kind == "CDROM":
			if seed, err = n.file(ctx, d.Attributes.Path); err != nil {
				return err
			}
		}
	}
	slices.Sort(bridges)
	if !slices.Equal(bridges, []string{"br0", "br20"}) {
		return fmt.Errorf("its cards are at %v", bridges)
	}
	for _, want := range []string{"192.0.2.20/24", "192.0.2.1", "192.0.2.53", "hostname: fixed"} {
		if !bytes.Contains(seed, []byte(want)) {
			return fmt.Errorf("its seed of %d bytes does not contain %s", len(seed), want)
		}
	}
	s.note("VirtualMachine fixed has cards at br0 and br20, and its seed the address 192.0.2.20/24")
	if err := s.delete(ctx, "VirtualMachine", "fixed"); err != nil {
		return err
	}
	return s.gone(ctx, time.Minute, "VirtualMachine", "fixed")
}
