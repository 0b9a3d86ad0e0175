package server

import (
	"fmt"
	"path"
	"slices"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// checkRunning refuses to change or complete a running VM: TrueNAS would apply the change at the next start only, and the caller
// would believe that it is in effect. Space can be reserved while the VM runs.
func (p *plan) checkRunning() error {
	if p.existing == nil || !vmrecord.Active(*p.existing) {
		return nil
	}
	if missing := p.missing(); len(missing) > 0 {
		return refusal.FailedPrecondition("VM %q runs without its %s: power it off, and Create completes it", p.mark.Name, missing[0])
	}
	if d := p.differs(); d != nil {
		return refusal.FailedPrecondition("%s: VM %q runs with %s, not with %s: power it off, and Create changes it", d.Field, p.mark.Name, d.Have, d.Want)
	}
	return nil
}

// differs returns the first setting in which the existing VM differs.
func (p *plan) differs() *hardware.Difference {
	vm := *p.existing
	for _, d := range []hardware.Difference{
		{Field: "class_json.CPU", Have: fmt.Sprint(vmrecord.CPUs(vm)), Want: fmt.Sprint(p.class.CPUs)},
		{Field: "class_json.MemoryMiB", Have: fmt.Sprint(vm.MemoryMiB), Want: fmt.Sprint(p.class.MemoryMiB)},
		{Field: "class_json.Firmware", Have: vm.Bootloader, Want: p.bootloader()},
		{Field: "class_json.SecurityProfile.SecureBoot", Have: fmt.Sprint(vm.SecureBoot), Want: fmt.Sprint(p.class.SecureBoot)},
		{Field: "class_json.SecurityProfile.TPMEnabled", Have: fmt.Sprint(vm.TPM), Want: fmt.Sprint(p.class.TPM)},
	} {
		if d.Have != d.Want {
			return &d
		}
	}
	if hardware.Rearranged(vm, p.class) {
		return &hardware.Difference{Field: spec.HardwareField("cpu_sockets"), Have: hardware.Arrangement(vm).String(), Want: p.class.Topology().String()}
	}
	if list := hardware.Compare(vm, p.class, new(truenas.VMHardware)); len(list) > 0 {
		return &list[0]
	}
	for _, d := range p.disks {
		if d.bytes > d.has {
			return &hardware.Difference{Field: d.at, Have: fmt.Sprintf("%d GiB", d.has/spec.GiB), Want: fmt.Sprintf("%d GiB", d.bytes/spec.GiB)}
		}
	}
	if d := p.diskDiffers(); d != nil {
		return d
	}
	if d := p.mismatch(); d != nil {
		return d
	}
	if len(p.surplus) > 0 && p.surplus[0].Attributes.DType == truenas.DeviceNIC {
		return &hardware.Difference{Field: "networks_json", Have: nicText(p.surplus[0].Attributes), Want: "the requested networks"}
	}
	if p.otherSeed() {
		return &hardware.Difference{Field: "user_data", Have: "another seed", Want: "this one"}
	}
	return nil
}

// planSurplus finds the devices of this provider that the existing VM has and the request does not name. Create removes NICs and
// the seed, never a disk. Devices that a user attached do not count.
func (p *plan) planSurplus() error {
	if p.existing == nil {
		return nil
	}
	for _, volume := range vmrecord.Disks(*p.existing) {
		if p.holds(volume) && !slices.Contains(p.volumes(), volume) {
			return p.refuseOmission(volume)
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

// refuseOmission refuses a request without a disk that the VM has.
func (p *plan) refuseOmission(volume string) error {
	return refusal.FailedPrecondition("disks_json: VM %q has disk %s on pool %q, which the request does not name; disks are never removed, because their data would be lost", p.mark.Name, path.Base(volume), spec.PoolOf(volume))
}

// mismatch returns the first difference between a NIC of the existing VM and the request: another network or another model.
func (p *plan) mismatch() *hardware.Difference {
	for _, n := range p.nics {
		have, ok := p.nicDevice(n)
		if !ok {
			continue
		}
		if field := n.mismatch(have); field != "" {
			return &hardware.Difference{Field: field, Have: nicText(have.Attributes), Want: nicText(n.onto(have))}
		}
	}
	return nil
}

func nicText(n truenas.DeviceAttributes) string {
	return fmt.Sprintf("a NIC of model %s on %s", n.Type, n.NICAttach)
}
