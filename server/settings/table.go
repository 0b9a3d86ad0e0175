package settings

import "slices"

// Values of choices that other packages use.
const (
	Linux   = "linux"
	Windows = "windows"

	CPUCustom          = "custom"
	CPUHostModel       = "host-model"
	CPUHostPassthrough = "host-passthrough"

	BusVirtIO = "virtio"
	BusAHCI   = "ahci"

	ClockUTC   = "utc"
	ClockLocal = "local"
)

// Table lists all settings, in the order of the documentation and of Omni's form.
func Table() []Setting {
	return slices.Concat(cpuSettings(), machineSettings(), bootSettings(), diskSettings(), displaySettings(), hostDeviceSettings())
}

func cpuSettings() []Setting {
	const group = "CPU"
	return []Setting{
		{
			Name: "cpu_mode", Group: group, Title: "CPU mode", Kind: Choice, Allowed: []string{CPUHostPassthrough, CPUHostModel, CPUCustom},
			About:   "The CPU that the guest sees: that of the NAS, libvirt's nearest model of it, or the model of `cpu_model`.",
			Default: CPUHostPassthrough, NAS: "`cpu_mode`", Change: NextStart, of: func(v *Values) any { return &v.CPUMode },
		},
		{
			Name: "cpu_model", Group: group, Title: "CPU model", Kind: Text, check: checkName,
			About:   "The model of a custom CPU, from the list of the NAS, such as `EPYC-Rome`.",
			Default: "none", NAS: "`cpu_model`", Change: NextStart, of: func(v *Values) any { return &v.CPUModel },
		},
		{
			Name: "cpu_sockets", Group: group, Title: "CPU sockets", Kind: Number, Min: 1, Max: 255,
			About:   "Sockets of the VM. Sockets × cores × threads must be the number of CPUs of the class; the provider chooses factors that you omit.",
			Default: "1", NAS: "`vcpus`", Change: NextStart, of: func(v *Values) any { return &v.Sockets },
		},
		{
			Name: "cpu_cores", Group: group, Title: "Cores of a socket", Kind: Number, Min: 1, Max: 255,
			About:   "Cores of each socket.",
			Default: "all CPUs", NAS: "`cores`", Change: NextStart, of: func(v *Values) any { return &v.Cores },
		},
		{
			Name: "cpu_threads", Group: group, Title: "Threads of a core", Kind: Number, Min: 1, Max: 255,
			About:   "Threads of each core.",
			Default: "1", NAS: "`threads`", Change: NextStart, of: func(v *Values) any { return &v.Threads },
		},
		{
			Name: "cpu_topology_extension", Group: group, Title: "AMD topology extension", Kind: Switch,
			About:   "Show threads of a core to guests on AMD CPUs.",
			Default: "false", NAS: "`enable_cpu_topology_extension`", Change: NextStart, of: func(v *Values) any { return &v.TopologyExtension },
		},
		{
			Name: "cpuset", Group: group, Title: "CPUs of the NAS", Kind: Text, check: checkSet,
			About:   "The CPUs of the NAS that the VM may run on, such as `0-3,8`.",
			Default: "all", NAS: "`cpuset`", Change: NextStart, of: func(v *Values) any { return &v.CPUSet },
		},
		{
			Name: "pin_vcpus", Group: group, Title: "Pin CPUs", Kind: Switch,
			About:   "Pin each CPU of the VM to one of `cpuset`, which must name as many as the VM has.",
			Default: "false", NAS: "`pin_vcpus`", Change: NextStart, of: func(v *Values) any { return &v.PinVCPUs },
		},
		{
			Name: "nodeset", Group: group, Title: "NUMA nodes", Kind: Text, check: checkSet,
			About:   "The NUMA nodes of the NAS that the VM's memory comes from, such as `0`.",
			Default: "all", NAS: "`nodeset`", Change: NextStart, of: func(v *Values) any { return &v.NodeSet },
		},
		{
			Name: "hide_from_msr", Group: group, Title: "Hide the hypervisor", Kind: Switch,
			About:   "Hide KVM from the guest, as some GPU drivers need.",
			Default: "false", NAS: "`hide_from_msr`", Change: NextStart, of: func(v *Values) any { return &v.HideFromMSR },
		},
		{
			Name: "hyperv_enlightenments", Group: group, ClassOnly: true, Title: "Hyper-V enlightenments", Kind: Switch,
			About:   "Offer the guest the interfaces of Hyper-V, which make Windows faster.",
			Default: "true for `os` windows, else false", NAS: "`hyperv_enlightenments`", Change: NextStart, of: func(v *Values) any { return &v.HyperV },
		},
	}
}

func machineSettings() []Setting {
	const group = "Machine"
	return []Setting{
		{
			Name: "os", Group: group, ClassOnly: true, Title: "Operating system", Kind: Choice, Allowed: []string{Linux, Windows},
			About:   "The guest's operating system, which chooses the defaults of other settings as TrueNAS's own form does.",
			Default: Linux, NAS: "no defaults", Change: NextStart, of: func(v *Values) any { return &v.OS },
		},
		{
			Name: "clock", Group: group, Title: "Clock", Kind: Choice, Allowed: []string{ClockUTC, ClockLocal},
			About:   "The time of the VM's hardware clock: UTC, as Linux expects, or the local time of the NAS, as Windows expects.",
			Default: "local for `os` windows, else utc", NAS: "`time`", Change: NextStart, of: func(v *Values) any { return &v.Clock },
		},
		{
			Name: "machine_type", Group: group, Title: "Machine type", Kind: Text, check: checkName,
			About:   "The machine that QEMU emulates, from the NAS's list for x86_64, such as `pc-q35-8.2`. Guests may not boot after a change.",
			Default: "the NAS's own; `pc-q35-6.2` with secure boot", NAS: "`machine_type`, with `arch_type` x86_64", Change: Never, of: func(v *Values) any { return &v.MachineType },
		},
		{
			Name: "shutdown_timeout", Group: group, Title: "Shutdown timeout", Kind: Number, Min: 5, Max: 300, Unit: "s",
			About:   "How long TrueNAS waits for the guest when it shuts the VM down, in seconds.",
			Default: "90", NAS: "`shutdown_timeout`", Change: Always, of: func(v *Values) any { return &v.ShutdownTimeout },
		},
		{
			Name: "cdrom", Group: group, ClassOnly: true, Title: "CD-ROM", Kind: Text, check: checkISO,
			About:   "An ISO on the NAS for a CD-ROM drive, such as one with drivers; its dataset must be among `images.nas_paths`.",
			Default: "none", NAS: "a device `CDROM`", Change: Once, of: func(v *Values) any { return &v.CDROM },
		},
	}
}
