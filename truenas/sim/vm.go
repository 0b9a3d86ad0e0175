package sim

import (
	"encoding/json"
	"slices"
	"sort"
)

var vmMethods = map[string]method{
	"vm.query":        {roles: []string{"VM_READ"}, run: vmQuery},
	"vm.get_instance": {roles: []string{"VM_READ"}, run: vmGet},
	"vm.create":       {roles: []string{"VM_WRITE"}, run: vmCreate},
	"vm.update":       {roles: []string{"VM_WRITE"}, run: vmUpdate},
	"vm.delete":       {roles: []string{"VM_DELETE", "VM_WRITE"}, run: vmDelete},
	"vm.clone":        {roles: []string{"VM_WRITE"}, run: vmClone},

	"vm.start":    {roles: []string{"VM_WRITE"}, run: vmStart},
	"vm.stop":     {roles: []string{"VM_WRITE"}, job: true, lock: lockByVM("stop_vm_"), uninterruptible: true, run: vmStop},
	"vm.poweroff": {roles: []string{"VM_WRITE"}, run: vmPoweroff},
	"vm.restart":  {roles: []string{"VM_WRITE"}, job: true, lock: lockByVM("restart_vm_"), uninterruptible: true, run: vmRestart},
	"vm.suspend":  {roles: []string{"VM_WRITE"}, run: vmSuspend},
	"vm.resume":   {roles: []string{"VM_WRITE"}, run: vmResume},
	"vm.reset":    {since: v27, roles: []string{"VM_WRITE"}, run: vmReset},
	"vm.status":   {roles: []string{"VM_READ"}, run: vmStatus},

	"vm.get_available_memory":                   {roles: []string{"VM_READ"}, run: vmAvailableMemory},
	"vm.get_vmemory_in_use":                     {roles: []string{"VM_READ"}, run: vmMemoryInUse},
	"vm.get_memory_usage":                       {roles: []string{"VM_READ"}, run: vmMemoryUsage},
	"vm.get_display_devices":                    {roles: []string{"VM_READ"}, run: vmDisplays},
	"vm.get_console":                            {roles: []string{"VM_READ"}, run: vmConsole},
	"vm.get_guest_network_interfaces":           {since: v27, roles: []string{"VM_READ"}, run: vmGuestInterfaces},
	"vm.log_file_path":                          {roles: []string{"VM_READ"}, run: vmLogPath},
	"vm.random_mac":                             {roles: []string{"VM_READ"}, run: vmRandomMAC},
	"vm.port_wizard":                            {roles: []string{"VM_READ"}, run: vmPortWizard},
	"vm.supports_virtualization":                {roles: []string{"VM_READ"}, run: constant(true)},
	"vm.virtualization_details":                 {roles: []string{"VM_READ"}, run: constant(map[string]any{"supported": true, "error": nil})},
	"vm.maximum_supported_vcpus":                {roles: []string{"VM_READ"}, run: constant(maxVCPUs)},
	"vm.flags":                                  {roles: []string{"VM_READ"}, run: constant(map[string]bool{"intel_vmx": true, "unrestricted_guest": true, "amd_rvi": false, "amd_asids": false})},
	"vm.bootloader_options":                     {roles: []string{"VM_READ"}, run: constant(map[string]string{"UEFI": "UEFI", "UEFI_CSM": "Legacy BIOS"})},
	"vm.bootloader_ovmf_choices":                {roles: []string{"VM_READ"}, run: vmOVMFChoices},
	"vm.cpu_model_choices":                      {roles: []string{"VM_READ"}, run: vmCPUChoices},
	"vm.resolution_choices":                     {roles: []string{"VM_READ"}, run: vmResolutions},
	"vm.guest_architecture_and_machine_choices": {roles: []string{"VM_READ"}, run: constant(machines())},

	"vm.import_disk_image": {until: v25_10, roles: []string{"VM_WRITE"}, job: true, lock: lockByZvol, queue: 1, uninterruptible: true, run: vmImportImage},
	"vm.export_disk_image": {until: v25_10, roles: []string{"VM_WRITE"}, job: true, lock: lockByZvol, queue: 1, uninterruptible: true, run: vmExportImage},
}

// States of a VM in vm.query.
const (
	stopped    = "STOPPED"
	running    = "RUNNING"
	suspended  = "SUSPENDED"
	stateError = "ERROR" // up to 25.10: the middleware has no domain of the machine
)

// vmConfig is the configuration of a VM, with the API's names.
type vmConfig struct {
	CommandLineArgs      string  `json:"command_line_args"`
	CPUMode              string  `json:"cpu_mode" sim:"enum=CUSTOM|HOST-MODEL|HOST-PASSTHROUGH"`
	CPUModel             *string `json:"cpu_model" sim:"nullable"`
	Name                 string  `json:"name" sim:"minlen=1"`
	Description          string  `json:"description"`
	VCPUs                int     `json:"vcpus" sim:"min=1"`
	Cores                int     `json:"cores" sim:"min=1"`
	Threads              int     `json:"threads" sim:"min=1"`
	CPUSet               *string `json:"cpuset" sim:"nullable"`
	NodeSet              *string `json:"nodeset" sim:"nullable"`
	CPUTopologyExtension bool    `json:"enable_cpu_topology_extension"`
	PinVCPUs             bool    `json:"pin_vcpus"`
	SuspendOnSnapshot    bool    `json:"suspend_on_snapshot"`
	TPM                  bool    `json:"trusted_platform_module"`
	Memory               int64   `json:"memory" sim:"min=20"` // MiB
	MinMemory            *int64  `json:"min_memory" sim:"nullable,min=20"`
	HyperV               bool    `json:"hyperv_enlightenments"`
	Bootloader           string  `json:"bootloader" sim:"enum=UEFI_CSM|UEFI"`
	OVMF                 *string `json:"bootloader_ovmf" sim:"nullable"`
	Autostart            bool    `json:"autostart"`
	HideFromMSR          bool    `json:"hide_from_msr"`
	EnsureDisplay        bool    `json:"ensure_display_device"`
	Time                 string  `json:"time" sim:"enum=LOCAL|UTC"`
	ShutdownTimeout      int     `json:"shutdown_timeout" sim:"min=5,max=300"` // seconds
	ArchType             *string `json:"arch_type" sim:"nullable"`
	MachineType          *string `json:"machine_type" sim:"nullable"`
	UUID                 *string `json:"uuid" sim:"nullable,uuid"`
	SecureBoot           bool    `json:"enable_secure_boot"`
}

// newVMConfig returns the defaults, some of which are surprising.
func newVMConfig(r release) vmConfig {
	return vmConfig{
		CPUMode: "CUSTOM", VCPUs: 1, Cores: 1, Threads: 1, Bootloader: "UEFI", Autostart: true, EnsureDisplay: true,
		Time: "LOCAL", ShutdownTimeout: 90, SuspendOnSnapshot: r >= v26,
	}
}

// vm is a virtual machine.
type vm struct {
	ID     int
	Config vmConfig
	State  string
	PID    int    `json:",omitempty"`
	Domain domain // set while it is not stopped

	Undefined bool  `json:",omitempty"` // up to 25.10: libvirt has no domain for it
	LogBytes  int64 `json:",omitempty"` // size of libvirt's log
	HasRun    bool  `json:",omitempty"` // it was started once, so its firmware has stored variables
}

// vmRow is a VM in the API's form.
type vmRow struct {
	vmConfig
	ID               int          `json:"id"`
	DisplayAvailable bool         `json:"display_available"`
	Devices          *[]deviceRow `json:"devices,omitempty"`
	Status           statusRow    `json:"status"`
}

type statusRow struct {
	State       string  `json:"state"`
	PID         *int    `json:"pid"`
	DomainState *string `json:"domain_state"`
}

// active reports whether a VM has a process.
func (m *vm) active() bool { return m.State != stopped }

// status returns the state of a VM with a domain.
func (m *vm) status() statusRow {
	words := map[string]string{running: "RUNNING", suspended: "PAUSED", stopped: "SHUTOFF"}
	state := words[m.State]
	row := statusRow{State: m.State, DomainState: &state}
	if m.active() {
		pid := m.PID
		row.PID = &pid
	}
	return row
}

// vmRows returns the rows of the VMs that pass the prefilter, by id.
func (s *state) vmRows(r release, keep prefilter) []vmRow {
	devices := s.devicesByVM()
	var kept []int
	for id, m := range s.VMs {
		if keep(m.cheap(func() []*device { return devices[id] })) {
			kept = append(kept, id)
		}
	}
	sort.Ints(kept)
	rows := make([]vmRow, 0, len(kept))
	for _, id := range kept {
		rows = append(rows, s.machineRow(s.VMs[id], devices[id], r))
	}
	return rows
}

// devicesByVM returns the devices of each VM, in no order.
func (s *state) devicesByVM() map[int][]*device {
	if s.byVM == nil {
		s.byVM = map[int][]*device{}
		for _, d := range s.Devices {
			s.byVM[d.VM] = append(s.byVM[d.VM], d)
		}
	}
	return s.byVM
}

// addDevice adds a device to the state. All additions and removals use it and dropDevice, which keep the index current.
func (s *state) addDevice(d *device) {
	byVM := s.devicesByVM()
	s.Devices[d.ID] = d
	byVM[d.VM] = append(byVM[d.VM], d)
}

func (s *state) dropDevice(d *device) {
	byVM := s.devicesByVM()
	delete(s.Devices, d.ID)
	byVM[d.VM] = slices.DeleteFunc(byVM[d.VM], func(other *device) bool { return other.ID == d.ID })
	if len(byVM[d.VM]) == 0 {
		delete(byVM, d.VM)
	}
}

func vmIDs[V any](m map[int]V) []int {
	ids := make([]int, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	sort.Ints(ids)
	return ids
}

func (s *state) machineRow(m *vm, devices []*device, r release) vmRow {
	slices.SortFunc(devices, func(a, b *device) int { return a.ID - b.ID })
	rows := make([]deviceRow, 0, len(devices))
	display := false
	for _, d := range devices {
		rows = append(rows, d.row(r))
		display = display || d.DType == "DISPLAY"
	}
	return vmRow{vmConfig: m.Config, ID: m.ID, DisplayAvailable: display, Devices: &rows, Status: s.statusOf(m, r)}
}

// devicesOf lists the devices of a VM in boot order.
func (s *state) devicesOf(id int) []*device {
	list := slices.Clone(s.devicesByVM()[id])
	sortDevices(list)
	return list
}

func sortDevices(list []*device) {
	slices.SortFunc(list, func(a, b *device) int {
		if a.Order != b.Order {
			return a.Order - b.Order
		}
		return a.ID - b.ID
	})
}

func (c *call) vmRow(m *vm) vmRow {
	return c.sim.state.machineRow(m, c.sim.state.devicesOf(m.ID), c.release())
}

func vmQuery(c *call) (any, error) {
	rows := c.sim.state.vmRows(c.release(), c.prefilter())
	for i := range rows {
		rows[i].Status = c.seen(rows[i].Status)
	}
	return query(c, rows)
}

func vmGet(c *call) (any, error) {
	var id int
	var options json.RawMessage
	if err := c.args([]string{"id", "options"}, &id, &options); err != nil {
		return nil, err
	}
	m, err := c.sim.state.vm(id)
	if err != nil {
		return nil, err
	}
	row := c.vmRow(m)
	row.Status = c.seen(row.Status)
	return row, nil
}

// vm returns the VM with an id. Its error is that of get_instance.
func (s *state) vm(id int) (*vm, error) {
	if m := s.VMs[id]; m != nil {
		return m, nil
	}
	return nil, missing("VM %d does not exist", id)
}

// vmNamed returns the oldest VM with a name.
func (s *state) vmNamed(name string) *vm {
	var first *vm
	for _, m := range s.VMs {
		if m.Config.Name == name && (first == nil || m.ID < first.ID) {
			first = m
		}
	}
	return first
}

// oneVM reads the argument of methods that take only an id.
func (c *call) oneVM() (*vm, error) {
	var id int
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	return c.sim.state.vm(id)
}
