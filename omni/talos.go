package omni

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/omni/talosconfig"
	"virtrigaud-provider-truenas/server/settings"
)

// talosSettings are the settings of a class that concern Talos and not the VM.
type talosSettings struct {
	AdvertisedSubnets []string `json:"advertised_subnets"`
	Extensions        []string `json:"extensions"`
	KernelArgs        []string `json:"kernel_args"`
}

func talosFields() []field {
	return []field{
		{name: "advertised_subnets", title: "Advertised subnets", description: "Subnets that Kubernetes' node addresses are taken from, and on control planes those of etcd, for machines with several network cards; subnets with ! in front are excluded and come last. Control planes are the machines of a set whose id ends in -control-planes, as Omni's do; Talos's own choice unless given", kind: array, check: talosconfig.CheckSubnet},
		{name: "extensions", title: "System extensions", description: "System extensions of the image in addition to those of the machine request, such as siderolabs/iscsi-tools. Omni removes them again when the cluster lists extensions of its own", kind: array, check: talosconfig.CheckExtension},
		{name: "kernel_args", title: "Kernel arguments", description: "Kernel arguments of the image, appended to those of the machine request, such as net.ifnames=0; one with a hyphen in front is removed from Talos's own", kind: array, check: talosconfig.CheckKernelArg},
	}
}

// talosMistakes returns conflicts between the settings for Talos.
func (c Class) talosMistakes() []string {
	var wrong []string
	note := func(at string, err error) {
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", at, err))
		}
	}
	for i, d := range c.disks() {
		if d.Filesystem != "" {
			note(fmt.Sprintf("additional_disks[%d].name", i), talosconfig.CheckVolumeName(d.Name))
		}
	}
	note("advertised_subnets", talosconfig.CheckSubnets(c.AdvertisedSubnets))
	note("advertised_subnets", c.unreachableSubnets())
	note("kernel_args", talosconfig.CheckKernelArgs(c.KernelArgs))
	return wrong
}

// unreachableSubnets refuses subnets that contain no address of the machine, because the kubelet would wait forever for one. The
// addresses of a NIC with DHCP are unknown.
func (c Class) unreachableSubnets() error {
	if len(c.AdvertisedSubnets) == 0 {
		return nil
	}
	for _, n := range c.nics() {
		if len(n.Addresses) == 0 {
			return nil
		}
		for _, text := range n.Addresses {
			if first, last, err := parseRange(text); err == nil && talosconfig.Reaches(c.AdvertisedSubnets, first, last) {
				return nil
			}
		}
	}
	return fmt.Errorf("no address of ip_addresses is in %s", strings.Join(c.AdvertisedSubnets, ", "))
}

// checkTalos refuses settings that the machine's Talos version does not support.
func (p *Provisioner) checkTalos(ctx context.Context, r *request, class Class) error {
	version := r.GetTalosVersion()
	for i, d := range class.disks() {
		if d.Filesystem != "" && version != "" && !isTalos(version, 1, 10) {
			return refusal("additional_disks[%d].filesystem needs Talos 1.10 or later; the machine gets %s", i, version)
		}
	}
	return p.checkExtensions(ctx, r, class.Extensions)
}

// macs returns the MAC addresses of the NICs that the machine's configuration names, and "" for the others. They depend only on
// the request, so that the configuration can be written without a call to the backend.
func (p *Provisioner) macs(id string, class Class) []string {
	macs, m := make([]string, len(class.nics())), p.mark()
	for i, n := range class.nics() {
		if n.MTU != 0 {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", m.origin, m.owner(id), i))
			macs[i] = net.HardwareAddr(append([]byte{0x02}, sum[:5]...)).String() // 02: locally administered unicast
		}
	}
	return macs
}

// talosPatches writes the patches for the settings of Talos.
func (p *Provisioner) talosPatches(ctx context.Context, r *request, class Class) error {
	var nics []talosconfig.NIC
	macs := p.macs(r.id, class)
	for i, n := range class.nics() {
		if n.MTU != 0 {
			nics = append(nics, talosconfig.NIC{MAC: macs[i], MTU: n.MTU, DHCP: len(n.Addresses) == 0})
		}
	}
	mtu, err := talosconfig.MTU(nics)
	if err != nil {
		return err
	}
	if err := r.write(ctx, "mtu", mtu); err != nil {
		return err
	}
	set, _ := r.GetMachineRequestSetID()
	subnets, err := talosconfig.Subnets(class.AdvertisedSubnets, isControlPlane(set))
	if err != nil {
		return err
	}
	if err := r.write(ctx, "advertised-subnets", subnets); err != nil {
		return err
	}
	return p.volumePatch(ctx, r, class)
}

// isControlPlane reports whether a set is that of a cluster's control planes. A provider can read that only from the name, which
// Omni enforces.
func isControlPlane(set string) bool {
	return strings.HasSuffix(set, "-"+omnires.ControlPlanesIDSuffix)
}

// volumePatch writes the user volumes on additional disks.
func (p *Provisioner) volumePatch(ctx context.Context, r *request, class Class) error {
	sizes, wanted := map[int64]int{}, false
	for _, d := range class.disks() {
		sizes[d.SizeGiB]++
		wanted = wanted || d.Filesystem != ""
	}
	if !wanted {
		return nil
	}
	b := p.provider(r.spec.Provider)
	if b == nil {
		return refusal("the machine is on %q, which is not configured as a backend", r.spec.Provider)
	}
	found, err := b.describe(ctx, r.spec.VmId)
	switch {
	case err != nil && codeOf(err) != codes.NotFound:
		return err
	case !found.GetExists():
		return nil // The machine is created again before its start, with other serials.
	}
	var volumes []talosconfig.Volume
	serials := reportedSerials(found.GetProviderRawJson(), len(class.Disks))
	for i, d := range class.disks() {
		switch {
		case d.Filesystem == "":
			continue
		case serials[i] == "" && sizes[d.SizeGiB] > 1:
			return refusal("%s does not report the serials of disks, and additional_disks[%d] has the size of another disk; give it a size of its own", b.name, i)
		}
		volumes = append(volumes, talosconfig.Volume{Name: d.Name, Filesystem: d.Filesystem, Serial: serials[i], Bytes: d.SizeGiB << 30})
	}
	patch, err := talosconfig.UserVolumes(volumes)
	if err != nil {
		return err
	}
	return r.write(ctx, "user-volumes", patch)
}

// reportedSerials returns the serials of the additional disks in their order. They are part of the raw data of a backend: volumes
// in boot order, the root disk first. It returns none if the backend reports another number of disks.
func reportedSerials(raw string, disks int) []string {
	serials := make([]string, disks)
	var reported map[string]string
	if json.Unmarshal([]byte(raw), &reported) != nil {
		return serials
	}
	list := strings.Split(reported["disk_serials"], ",")
	if len(list) != disks+1 || !strings.HasPrefix(list[0], settings.RootDisk+"=") {
		return serials
	}
	for i, entry := range list[1:] {
		if _, serial, _ := strings.Cut(entry, "="); talosconfig.IsSerial(serial) {
			serials[i] = serial
		}
	}
	return serials
}
