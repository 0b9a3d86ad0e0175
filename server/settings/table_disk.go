package settings

func diskSettings() []Setting {
	const group = "Disks"
	return []Setting{
		{
			Name: "disk_bus", Group: group, Title: "Bus", Kind: Choice, Allowed: []string{BusVirtIO, BusAHCI},
			About:   "The bus that the disk is on: VirtIO is faster, AHCI works for guests without drivers, such as an imported Windows.",
			Default: "ahci for `os` windows, else virtio; of a clone, that of its source", NAS: "`type` of the device", Change: NextStart, disk: func(d *Disk) any { return &d.Bus },
		},
		{
			Name: "disk_io", Group: group, Title: "I/O", Kind: Choice, Allowed: []string{"threads", "native", "io_uring"},
			About:   "How QEMU reads and writes the disk.",
			Default: "threads", NAS: "`iotype` of the device", Change: NextStart, disk: func(d *Disk) any { return &d.IO },
		},
		{
			Name: "disk_sector_size", Group: group, Title: "Sector size", Kind: Choice, Allowed: []string{"512", "4096"},
			About:   "The logical sector size that the guest sees, in bytes. What is on a disk cannot be read with another one.",
			Default: "QEMU's own, 512", NAS: "`logical_sectorsize` of the device", Change: Never, disk: func(d *Disk) any { return &d.LogicalSector },
		},
		{
			Name: "disk_physical_sector_size", Group: group, Title: "Physical sector size", Kind: Choice, Allowed: []string{"512", "4096"},
			About:   "The physical sector size that the guest sees, in bytes; needs `disk_sector_size`.",
			Default: "QEMU's own, 512", NAS: "`physical_sectorsize` of the device", Change: Never, disk: func(d *Disk) any { return &d.PhysicalSector },
		},
		{
			Name: "disk_block_size", Group: group, Title: "Block size", Kind: Choice, Allowed: []string{"4k", "8k", "16k", "32k", "64k", "128k"},
			About:   "The block size of the volume. A disk that is made from an image or imported has that of its source: there the setting is refused for one disk and has no effect when it is given for all.",
			Default: "16k, or the pool's own", NAS: "`volblocksize` of the volume", Change: Never, disk: func(d *Disk) any { return &d.BlockSize },
		},
		{
			Name: "disk_compression", Group: group, Title: "Compression", Kind: Choice, Allowed: []string{"off", "lz4", "zstd", "zstd-fast", "gzip", "zle"},
			About:   "How ZFS compresses what is written to the disk from now on.",
			Default: "as the dataset above", NAS: "`compression` of the volume", Change: Always, disk: func(d *Disk) any { return &d.Compression },
		},
		{
			Name: "disk_sync", Group: group, Title: "Sync", Kind: Choice, Allowed: []string{"standard", "always", "disabled"},
			About:   "Whether writes wait for the pool. With `disabled`, a power cut loses what the guest believes written in the last seconds.",
			Default: "as the dataset above", NAS: "`sync` of the volume", Change: Always, disk: func(d *Disk) any { return &d.Sync },
		},
		{
			Name: "disk_deduplication", Group: group, Title: "Deduplication", Kind: Choice, Allowed: []string{"off", "on", "verify"},
			About:   "Whether ZFS looks for equal blocks. It needs much memory, and cannot be undone for what was written.",
			Default: "off, whatever the pool has", NAS: "`deduplication` of the volume", Change: Always, disk: func(d *Disk) any { return &d.Deduplication },
		},
	}
}
