package sim

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// maxVCPUs limits the product of vcpus, cores and threads.
const maxVCPUs = 255

var vmName = regexp.MustCompile(`^[a-zA-Z_0-9]+$`)

// required reports missing keys that a new record needs and an update does not.
func required(raw json.RawMessage, at string, names ...string) error {
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil {
		return nil // already refused: not an object
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
	if len(c.params) == 0 {
		return nil, uncaught("TypeError", "CRUDService.create() missing 1 required positional argument: 'data'")
	}
	config := vmCreateArgs{newVMConfig(c.release())}
	if err := c.args([]string{"vm_create"}, &config); err != nil {
		return nil, err
	}
	if err := required(c.params[0], "vm_create", "name", "memory"); err != nil {
		return nil, err
	}
	if err := c.nullOVMF("vm_create", 0); err != nil {
		return nil, err
	}
	if err := c.checkNewVM(&config.vmConfig); err != nil {
		return nil, err
	}
	c.overlap()
	m, err := c.sim.addVM(config.vmConfig)
	if err != nil {
		return nil, err
	}
	row := c.vmRow(m)
	c.sim.emitRecord("vm.query", "added", m.ID, row)
	return row, nil
}

// vmCreateArgs has the name that validation errors contain.
type vmCreateArgs struct{ vmConfig }

// checkNewVM checks a new VM and fills in the defaults.
func (c *call) checkNewVM(config *vmConfig) error {
	var v invalid
	c.checkVM("vm_create", config, 0, &v)
	if c.release() >= v25_10 {
		c.chooseFirmware(config, &v)
	}
	if err := v.err(); err != nil {
		return err
	}
	if config.UUID == nil {
		id := c.sim.state.uuid()
		config.UUID = &id
	}
	return nil
}

// addVM makes the record of a VM without devices. Up to 25.10 it also defines the domain in libvirt. If libvirt refuses, the
// record remains.
func (s *Sim) addVM(config vmConfig) (*vm, error) {
	s.state.LastVM++
	m := &vm{ID: s.state.LastVM, Config: config, State: stopped, Undefined: s.release <= v25_10}
	s.state.VMs[m.ID] = m
	s.state.enlist(m)
	if err := s.watch(m); err != nil {
		return nil, err
	}
	if s.release <= v25_10 {
		s.emitDomain("added", m, "NOSTATE")
	}
	return m, nil
}

// nullOVMF refuses null where 25.04 requires a string.
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

// uuid returns a random UUID of version 4 that no VM has.
func (s *state) uuid() string {
	for {
		if text := randomUUID(s.random); s.byUUID[text] == nil {
			return text
		}
	}
}

func randomUUID(random *rand.Rand) string {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(random.UintN(256))
	}
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

// checkVM makes TrueNAS's checks of a VM beyond the types, in TrueNAS's order. self is the VM's id, or 0 for a new one.
func (c *call) checkVM(at string, config *vmConfig, self int, v *invalid) {
	if config.MinMemory != nil && *config.MinMemory > config.Memory {
		v.add(at+".min_memory", eINVAL, "Minimum memory should not be greater than defined/maximum memory")
	}
	if problem := shellProblem(config.CommandLineArgs); problem != "" {
		v.add(at+".command_line_args", eINVAL, "Parse error: %s", problem)
	}
	vcpus := config.VCPUs * config.Cores * config.Threads
	if vcpus > maxVCPUs {
		than := "than"
		if c.release() == v25_04_2 {
			than = "then"
		}
		v.add(at+".vcpus", eINVAL, `Maximum %d vcpus are supported.Please ensure the product of "%s.vcpus", "%s.cores" and "%s.threads" is less %s %d.`, maxVCPUs, at, at, at, than, maxVCPUs)
	}
	checkArch(at, config, v)
	checkCPUModel(at, config, v)
	if other := c.sim.state.vmNamed(config.Name); other != nil && other.ID != self {
		v.add(at+".name", eEXIST, "This name already exists.")
	} else if !vmName.MatchString(config.Name) {
		v.add(at+".name", eINVAL, "Only alphanumeric characters are allowed.")
	}
	checkPinning(at, config, vcpus, c.release(), v)
	if c.release() == v25_04_2 {
		c.checkFirmware(at, config, v)
	}
}

func checkArch(at string, config *vmConfig, v *invalid) {
	if config.ArchType == nil && config.MachineType == nil {
		return
	}
	choices := machines()
	var known []string
	if config.ArchType != nil {
		if known = choices[*config.ArchType]; known == nil {
			v.add(at+".arch_type", eINVAL, "Specified architecture type is not supported on this system")
		}
	}
	switch {
	case config.MachineType == nil:
	case config.ArchType == nil:
		v.add(at+".arch_type", eINVAL, `Must be specified when "%s.machine_type" is set`, at)
	case known != nil && !slices.Contains(known, *config.MachineType):
		v.add(at+".machine_type", eINVAL, "Specified machine type is not supported for ['%s'] architecture type", strings.Join(known, "', '"))
	}
}

func checkCPUModel(at string, config *vmConfig, v *invalid) {
	if config.CPUModel == nil {
		return
	}
	if config.CPUMode != "CUSTOM" {
		v.add(at+".cpu_model", eINVAL, `This attribute should not be specified when "cpu_mode" is not "CUSTOM".`)
	} else if _, ok := cpuModels()[*config.CPUModel]; !ok {
		v.add(at+".cpu_model", eINVAL, "Please select a valid CPU model.")
	}
}

func checkPinning(at string, config *vmConfig, vcpus int, r release, v *invalid) {
	if !config.PinVCPUs {
		return
	}
	if config.CPUSet == nil || *config.CPUSet == "" {
		v.add(at+".cpuset", eINVAL, `Must be specified when "%s.pin_vcpus" is set.`, at)
	} else if numericSet(*config.CPUSet) != vcpus {
		number := "number vcpus"
		if r == v25_04_2 {
			number = "number vpcus"
		}
		v.add(at+".pin_vcpus", eINVAL, `Number of cpus in "%s.cpuset" must be equal to total %s if pinning is enabled.`, at, number)
	}
}

// chooseFirmware selects the firmware and secure boot at vm.create from 25.10 on. Neither can change later.
func (c *call) chooseFirmware(config *vmConfig, v *invalid) {
	given := config.OVMF != nil
	if _, ok := ovmfChoices()[orElse(config.OVMF, "")]; given && !ok && c.release() < v27 {
		v.add("vm_create.bootloader_ovmf", eINVAL, "Invalid bootloader ovmf choice specified")
	}
	if config.SecureBoot {
		c.secureBoot("vm_create", config, v)
	}
	if config.OVMF == nil {
		ovmf := "OVMF_CODE_4M.fd"
		config.OVMF = &ovmf
	}
	if _, ok := ovmfChoices()[*config.OVMF]; !ok && c.release() >= v27 {
		v.add("vm_create.bootloader_ovmf", eINVAL, "Invalid bootloader ovmf choice specified")
	}
}

// checkFirmware makes the checks of the firmware in 25.04, at vm.create and vm.update.
func (c *call) checkFirmware(at string, config *vmConfig, v *invalid) {
	if config.OVMF == nil {
		ovmf := "OVMF_CODE.fd"
		config.OVMF = &ovmf
	}
	if _, ok := ovmfChoices()[*config.OVMF]; !ok {
		v.add(at+".bootloader_ovmf", eINVAL, "Invalid bootloader ovmf choice specified")
	}
	if config.SecureBoot {
		c.secureBoot(at, config, v)
	}
}

// secureBoot sets the machine type that secure boot needs. TrueNAS does not check that the bootloader is UEFI.
func (c *call) secureBoot(at string, config *vmConfig, v *invalid) {
	switch {
	case config.MachineType == nil:
		machine, arch := "pc-q35-6.2", "x86_64"
		config.MachineType = &machine
		if config.ArchType == nil {
			config.ArchType = &arch
		}
	case !strings.Contains(*config.MachineType, "pc-q35"):
		v.add(at+".machine_type", eINVAL, "Secure boot is only available in q35 machine type")
	}
	if config.OVMF == nil {
		ovmf := "OVMF_CODE_4M.secboot.fd"
		config.OVMF = &ovmf
	}
	if !secureFirmware(*config.OVMF, c.release()) {
		v.add(at+".bootloader_ovmf", eINVAL, "Select a bootloader_ovmf that supports secure boot i.e OVMF_CODE_4M.secboot.fd")
	}
}

func secureFirmware(name string, r release) bool {
	if r < v27 {
		return strings.Contains(strings.ToLower(name), "secboot")
	}
	for _, part := range []string{".secboot.", ".ms.fd", ".snakeoil."} {
		if strings.Contains(strings.ToLower(name), part) {
			return true
		}
	}
	return false
}

func vmUpdate(c *call) (any, error) {
	if len(c.params) == 0 {
		return nil, c.args([]string{"id", "vm_update"}, new(int), new(vmConfig))
	}
	config := newVMConfig(c.release())
	if m := c.vmFirst(); m != nil {
		config = m.Config
	}
	id, err := c.updateArgs(&config)
	if err != nil {
		return nil, err
	}
	m, err := c.sim.state.vm(id)
	if err != nil {
		return nil, err
	}
	if config.UUID == nil {
		config.UUID = m.Config.UUID
	}
	if config.Name != m.Config.Name {
		if err := c.renamable(m); err != nil {
			return nil, err
		}
	}
	var v invalid
	c.checkVM("vm_update", &config, id, &v)
	if err := v.err(); err != nil {
		return nil, err
	}
	return c.changeVM(m, config)
}

func (c *call) updateArgs(config *vmConfig) (id int, err error) {
	if err := c.args([]string{"id", "vm_update"}, &id, config); err != nil {
		return 0, err
	}
	if len(c.params) > 1 && c.release() >= v25_10 {
		if err := extraInputs(c.params[1], "vm_update", "bootloader_ovmf enable_secure_boot"); err != nil {
			return 0, err
		}
	}
	return id, c.nullOVMF("vm_update", 1)
}

// renamable returns an error if the VM cannot get another name now.
func (c *call) renamable(m *vm) error {
	d := c.sim.state.domainOf(m, c.release())
	switch {
	case d != nil && d.active():
		return fail(eFAULT, "VM name can only be changed when VM is inactive")
	case d == nil && c.release() <= v25_10:
		return fail(eFAULT, "Unable to locate domain for %s", m.Config.Name)
	}
	return nil
}

// changeVM stores the new configuration. Up to 25.10 a renamed VM gets a new domain. The rename of a UEFI VM that was never
// started succeeds but returns an error, because it has no firmware variables to move.
func (c *call) changeVM(m *vm, config vmConfig) (any, error) {
	s := c.sim
	old := m.Config
	s.state.delist(m)
	if config.Name != old.Name {
		s.unwatch(m)
	}
	m.Config = config
	s.state.enlist(m)
	if config.Name != old.Name && c.release() <= v25_10 {
		if err := s.watch(m); err != nil {
			return nil, err
		}
		s.emitDomain("added", m, "NOSTATE")
		if !m.HasRun && old.Bootloader == "UEFI" && config.Bootloader == "UEFI" {
			return nil, fail(eFAULT, "VM name has been updated but nvram file for %s does not exist which can result in %s VM not booting properly.", old.Name, config.Name)
		}
	}
	row := c.vmRow(m)
	s.emitRecord("vm.query", "changed", m.ID, row)
	return row, nil
}

// vmFirst returns the VM whose id is the first argument, or nil.
func (c *call) vmFirst() *vm {
	var id int
	if json.Unmarshal(c.params[0], &id) != nil {
		return nil
	}
	return c.sim.state.VMs[id]
}
