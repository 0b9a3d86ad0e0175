package server

import (
	"fmt"

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
	if p.existing == nil || !active(*p.existing) {
		return nil
	}
	if missing := p.missing(); len(missing) > 0 {
		return conflict("VM %q runs without its %s: power it off, and Create completes it", p.mark.Name, missing[0])
	}
	if d := p.differs(); d != nil {
		return conflict("%s: VM %q runs with %s, not with %s: power it off, and Create changes it", d.field, p.mark.Name, d.have, d.want)
	}
	return nil
}

// differs is the first setting in which the existing VM differs.
func (p *plan) differs() *difference {
	vm := *p.existing
	for _, d := range []difference{
		{"class_json.CPU", fmt.Sprint(cpus(vm)), fmt.Sprint(p.class.cpus)},
		{"class_json.MemoryMiB", fmt.Sprint(vm.MemoryMiB), fmt.Sprint(p.class.memoryMiB)},
		{"class_json.Firmware", vm.Bootloader, p.bootloader()},
		{"class_json.SecurityProfile.SecureBoot", fmt.Sprint(vm.SecureBoot), fmt.Sprint(p.class.secureBoot)},
		{"class_json.SecurityProfile.TPMEnabled", fmt.Sprint(vm.TPM), fmt.Sprint(p.class.tpm)},
	} {
		if d.have != d.want {
			return &d
		}
	}
	for _, d := range p.disks {
		if d.bytes > d.has {
			return &difference{d.at, fmt.Sprintf("%d GiB", d.has/gib), fmt.Sprintf("%d GiB", d.bytes/gib)}
		}
	}
	if d := p.misfit(); d != nil {
		return d
	}
	if p.otherSeed() {
		return &difference{"user_data", "another seed", "this one"}
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
