package settings

// bootSettings say what a VM boots first.
func bootSettings() []Setting {
	const group = "Boot"
	return []Setting{
		{
			Name: "boot", Group: group, Title: "Boot", Kind: Choice, Allowed: []string{"disk", "network", "cdrom"}, ClassOnly: true,
			About:   "What each start boots first. The network is booted by the CD-ROM image that `network.boot_iso` names.",
			Default: "disk", NAS: "the order of the VM's devices", Change: NextStart, of: func(v *Values) any { return &v.Boot },
		},
		{
			Name: "boot_once", Group: group, Title: "Boot once", Kind: Choice, Allowed: []string{"disk", "network", "cdrom", "none"}, ClassOnly: true,
			About:   "What the next start alone boots first. Only in a Reconfigure whose class holds settings of this group and nothing else.",
			Default: "none", NAS: "the order of the VM's devices, for one start", Change: NextStart, of: func(v *Values) any { return &v.BootOnce },
		},
	}
}
