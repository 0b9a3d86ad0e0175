package settings

// bootSettings are the boot sources of a VM.
func bootSettings() []Setting {
	const group = "Boot"
	return []Setting{
		{
			Name: "boot", Group: group, Title: "Boot", Kind: Choice, Allowed: []string{"disk", "network", "cdrom"}, ClassOnly: true,
			About:   "The boot source of every start. Network boot uses the CD-ROM image of `network.boot_iso`.",
			Default: "disk", NAS: "the order of the VM's devices", Change: NextStart, of: func(v *Values) any { return &v.Boot },
		},
		{
			Name: "boot_once", Group: group, Title: "Boot once", Kind: Choice, Allowed: []string{"disk", "network", "cdrom", "none"}, ClassOnly: true,
			About:   "The boot source of the next start only. Allowed only in a Reconfigure whose class has settings of this group alone.",
			Default: "none", NAS: "the order of the VM's devices, for one start", Change: NextStart, of: func(v *Values) any { return &v.BootOnce },
		},
		{
			Name: "media", Group: group, Title: "Virtual media", Kind: Text, check: checkMedia, secret: true, ClassOnly: true,
			About:   "The ISO in the CD-ROM drive: an `http`, `https`, `oci` or `s3` URL, or the path of an ISO on the NAS; `none` ejects it. Allowed only in a Reconfigure whose class has settings of this group alone.",
			Default: "the drive stays as it is", NAS: "a device `CDROM`", Change: NextStart, of: func(v *Values) any { return &v.Media },
		},
		{
			Name: "media_checksum", Group: group, Title: "Checksum of the media", Kind: Text, check: checkMediaSum, ClassOnly: true,
			About:   "The checksum that the ISO at a URL must have, such as `sha256:` and 64 hexadecimal digits. Only together with `media`.",
			Default: "none", NAS: "a property of the image's dataset", Change: NextStart, of: func(v *Values) any { return &v.MediaChecksum },
		},
	}
}
