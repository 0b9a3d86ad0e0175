package server

import (
	"fmt"
	"path"
	"slices"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// difference is a setting in which an existing VM differs from a request.
type difference struct {
	field      string
	have, want string
}

// checkRunning refuses to change or complete a VM that runs: TrueNAS would take the change into account
// at the next start only, and the caller would believe it done. Space is reserved while it runs.
func (p *plan) checkRunning() error {
	if p.existing == nil || !vmrecord.Active(*p.existing) {
		return nil
	}
	if missing := p.missing(); len(missing) > 0 {
		return refusal.FailedPrecondition("VM %q runs without its %s: power it off, and Create completes it", p.mark.Name, missing[0])
	}
	if d := p.differs(); d != nil {
		return refusal.FailedPrecondition("%s: VM %q runs with %s, not with %s: power it off, and Create changes it", d.field, p.mark.Name, d.have, d.want)
	}
	return nil
}

// differs is the first setting in which the existing VM differs.
func (p *plan) differs() *difference {
	vm := *p.existing
	for _, d := range []difference{
		{"class_json.CPU", fmt.Sprint(vmrecord.CPUs(vm)), fmt.Sprint(p.class.CPUs)},
		{"class_json.MemoryMiB", fmt.Sprint(vm.MemoryMiB), fmt.Sprint(p.class.MemoryMiB)},
		{"class_json.Firmware", vm.Bootloader, p.bootloader()},
		{"class_json.SecurityProfile.SecureBoot", fmt.Sprint(vm.SecureBoot), fmt.Sprint(p.class.SecureBoot)},
		{"class_json.SecurityProfile.TPMEnabled", fmt.Sprint(vm.TPM), fmt.Sprint(p.class.TPM)},
	} {
		if d.have != d.want {
			return &d
		}
	}
	if rearranged(vm, p.class) {
		return &difference{spec.HardwareField("cpu_sockets"), arrangement(vm).String(), p.class.Topology().String()}
	}
	if list := compareHardware(vm, p.class, new(truenas.VMHardware)); len(list) > 0 {
		return &list[0]
	}
	for _, d := range p.disks {
		if d.bytes > d.has {
			return &difference{d.at, fmt.Sprintf("%d GiB", d.has/spec.GiB), fmt.Sprintf("%d GiB", d.bytes/spec.GiB)}
		}
	}
	if d := p.diskDiffers(); d != nil {
		return d
	}
	if d := p.misfit(); d != nil {
		return d
	}
	if len(p.surplus) > 0 && p.surplus[0].Attributes.DType == truenas.DeviceNIC {
		return &difference{"networks_json", nicText(p.surplus[0].Attributes), "the networks asked for"}
	}
	if p.otherSeed() {
		return &difference{"user_data", "another seed", "this one"}
	}
	return nil
}

// planSurplus finds what the existing VM has of this provider's and the request does not ask for: NICs
// and the seed go, a disk is never taken away. What a person attached is none of it.
func (p *plan) planSurplus() error {
	if p.existing == nil {
		return nil
	}
	for _, volume := range vmrecord.Disks(*p.existing) {
		if spec.InTree(volume, p.dataset) && !slices.Contains(p.volumes(), volume) {
			return refusal.FailedPrecondition("disks_json: VM %q has the disk %s, which is not asked for; a disk is never taken away, since its data would be lost", p.mark.Name, path.Base(volume))
		}
	}
	for i := len(p.nics); i < spec.MaxNICs; i++ {
		if d, ok := p.nicDevice(nic{mac: spec.NICMAC(p.id, i)}); ok {
			p.surplus = append(p.surplus, d)
		}
	}
	if drive, ok := p.seedDrive(); ok && p.seed == nil && p.otherSeed() {
		p.surplus = append(p.surplus, drive)
	}
	return nil
}

// misfit is the first NIC of the existing VM on another network, or of another model, than asked for.
func (p *plan) misfit() *difference {
	for _, n := range p.nics {
		have, ok := p.nicDevice(n)
		if !ok {
			continue
		}
		if field := n.misfit(have); field != "" {
			return &difference{field, nicText(have.Attributes), nicText(n.onto(have))}
		}
	}
	return nil
}

func nicText(n truenas.DeviceAttributes) string {
	return fmt.Sprintf("a NIC of model %s on %s", n.Type, n.NICAttach)
}
