package sim

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// maxVCPUs bounds the product of vcpus, cores and threads.
const maxVCPUs = 255

var vmName = regexp.MustCompile(`^[a-zA-Z_0-9]+$`)

// required complains about keys that a new record needs and an update does not.
func required(raw json.RawMessage, at string, names ...string) error {
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil {
		return nil // what is no object was refused before
	}
	var v invalid
	for _, name := range names {
		if _, ok := given[name]; !ok {
			v.add(at+"."+name, eINVAL, "Field required")
		}
	}
	return v.err()
}

func vmCreate(c *call) (any, error) {
	config := newVMConfig(c.release())
	if err := c.args([]string{"vm_create"}, &config); err != nil {
		return nil, err
	}
	if err := required(c.params[0], "vm_create", "name", "memory"); err != nil {
		return nil, err
	}
	if err := c.nullOVMF("vm_create", 0); err != nil {
		return nil, err
	}
	if err := c.checkVM("vm_create", &config, 0); err != nil {
		return nil, err
	}
	if config.OVMF == nil {
		ovmf := "OVMF_CODE.fd"
		if config.SecureBoot {
			ovmf = "OVMF_CODE_4M.secboot.fd"
		}
		config.OVMF = &ovmf
	}
	if config.UUID == nil {
		id := c.sim.state.uuid()
		config.UUID = &id
	}
	return c.vmRow(c.sim.addVM(config)), nil
}

// addVM makes a machine without devices.
func (s *Sim) addVM(config vmConfig) *vm {
	s.state.LastVM++
	m := &vm{ID: s.state.LastVM, Config: config, State: stopped}
	s.state.VMs[m.ID] = m
	s.tellVM("added", m, "NOSTATE")
	return m
}

// nullOVMF refuses a null where 25.04 wants a string.
func (c *call) nullOVMF(at string, i int) error {
	var given map[string]json.RawMessage
	if json.Unmarshal(c.params[i], &given) != nil || c.release() > v25_04_2 {
		return nil
	}
	var v invalid
	if string(given["bootloader_ovmf"]) == "null" {
		v.add(at+".bootloader_ovmf", eINVAL, "Input should be a valid string")
	}
	return v.err()
}

// uuid is a random one of version 4.
func (s *state) uuid() string {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(s.random.UintN(256))
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// checkVM is what TrueNAS checks of a machine beyond the types. self is its id,
// or 0 for a new one.
func (c *call) checkVM(at string, config *vmConfig, self int) error {
	var v invalid
	if other := c.sim.state.vmNamed(config.Name); other != nil && other.ID != self {
		v.add(at+".name", eEXIST, "This name already exists.")
	} else if !vmName.MatchString(config.Name) {
		v.add(at+".name", eINVAL, "Only alphanumeric characters are allowed.")
	}
	if config.VCPUs*config.Cores*config.Threads > maxVCPUs {
		v.add(at+".vcpus", eINVAL, `Maximum %d vcpus are supported. Please ensure the product of "%s.vcpus", "%s.cores" and "%s.threads" is less then %d.`, maxVCPUs, at, at, at, maxVCPUs)
	}
	if config.MinMemory != nil && *config.MinMemory > config.Memory {
		v.add(at+".min_memory", eINVAL, "Minimum memory should not be greater than defined/maximum memory")
	}
	if config.PinVCPUs && config.CPUSet == nil {
		v.add(at+".cpuset", eINVAL, "Must be specified when pinning VCPUs")
	}
	c.checkCPU(at, config, &v)
	c.checkFirmware(at, config, &v)
	if config.UUID != nil {
		if id, err := uuid.Parse(*config.UUID); err != nil || len(*config.UUID) != 36 || id.Version() != 4 {
			v.add(at+".uuid", eINVAL, "UUID is not valid version 4")
		}
	}
	return v.err()
}

func (c *call) checkCPU(at string, config *vmConfig, v *invalid) {
	if config.CPUModel != nil {
		if config.CPUMode != "CUSTOM" {
			v.add(at+".cpu_model", eINVAL, `This attribute should not be specified when "cpu_mode" is not "CUSTOM".`)
		} else if _, ok := cpuModels()[*config.CPUModel]; !ok {
			v.add(at+".cpu_model", eINVAL, "Please select a valid CPU model.")
		}
	}
	choices := machines()
	switch {
	case config.ArchType == nil && config.MachineType == nil:
	case config.ArchType == nil:
		v.add(at+".arch_type", eINVAL, "Required when machine type is specified")
	case choices[*config.ArchType] == nil:
		v.add(at+".arch_type", eINVAL, "Specified architecture is not supported on this system")
	case config.MachineType != nil && !slices.Contains(choices[*config.ArchType], *config.MachineType):
		v.add(at+".machine_type", eINVAL, "Specified machine is not supported for %s architecture", *config.ArchType)
	}
}

func (c *call) checkFirmware(at string, config *vmConfig, v *invalid) {
	if config.OVMF != nil {
		if _, ok := ovmfChoices()[*config.OVMF]; !ok {
			v.add(at+".bootloader_ovmf", eINVAL, "Invalid bootloader ovmf choice specified")
		}
	}
	if !config.SecureBoot {
		return
	}
	if config.Bootloader != "UEFI" {
		v.add(at+".enable_secure_boot", eINVAL, "Secure boot is only available in UEFI bootloader")
	}
	if config.OVMF != nil && !strings.Contains(*config.OVMF, "secboot") {
		v.add(at+".bootloader_ovmf", eINVAL, "Select a bootloader_ovmf that supports secure boot i.e OVMF_CODE_4M.secboot.fd")
	}
	if c.release() == v25_04_2 && config.OVMF == nil {
		v.add(at+".bootloader_ovmf", eINVAL, "Select a bootloader_ovmf that supports secure boot i.e OVMF_CODE_4M.secboot.fd")
	}
	if config.MachineType != nil && !strings.Contains(*config.MachineType, "q35") {
		v.add(at+".enable_secure_boot", eINVAL, "Secure boot is only available in q35 machine type")
	}
}

func vmUpdate(c *call) (any, error) {
	var id int
	if len(c.params) == 0 {
		return nil, c.args([]string{"id", "vm_update"}, &id, new(vmConfig))
	}
	config := newVMConfig(c.release())
	if m := c.vmFirst(); m != nil {
		config = m.Config
	}
	if err := c.args([]string{"id", "vm_update"}, &id, &config); err != nil {
		return nil, err
	}
	if len(c.params) > 1 && c.release() >= v25_10 {
		if err := extraInputs(c.params[1], "vm_update", "bootloader_ovmf enable_secure_boot"); err != nil {
			return nil, err
		}
	}
	if err := c.nullOVMF("vm_update", 1); err != nil {
		return nil, err
	}
	m, err := c.sim.state.vm(id)
	if err != nil {
		return nil, err
	}
	if err := c.checkVM("vm_update", &config, id); err != nil {
		return nil, err
	}
	if config.Name != m.Config.Name && m.active() {
		return nil, fail(eFAULT, "VM name can only be changed when VM is inactive")
	}
	if config.UUID == nil {
		config.UUID = m.Config.UUID
	}
	m.Config = config
	if c.release() <= v25_10 {
		c.sim.tellVM("changed", m, "UPDATING CONFIGURATION")
	}
	c.sim.tellVM("changed", m, "")
	return c.vmRow(m), nil
}

// vmFirst is the machine whose id is the first argument, if it is one.
func (c *call) vmFirst() *vm {
	var id int
	if json.Unmarshal(c.params[0], &id) != nil {
		return nil
	}
	return c.sim.state.VMs[id]
}
