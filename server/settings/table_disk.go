package settings

func diskSettings() []Setting {
	const group = "Disks"
	return []Setting{
		{
			Name: "disk_bus", Group: group, Title: "Bus", Kind: Choice, Allowed: []string{BusVirtIO, BusAHCI},
			About:   "The bus of the disk: VirtIO is faster, AHCI works for guests without drivers, such as an imported Windows.",
			Default: "ahci for `os` windows, else virtio; of a clone, that of its source", NAS: "`type` of the device", Change: NextStart, disk: func(d *Disk) *string { return &d.Bus },
		},
		{
			Name: "disk_io", Group: group, Title: "I/O", Kind: Choice, Allowed: []string{"threads", "native", "io_uring"},
			About:   "How QEMU reads and writes the disk.",
			Default: "threads", NAS: "`iotype` of the device", Change: NextStart, disk: func(d *Disk) *string { return &d.IO },
		},
		{
			Name: "disk_sector_size", Group: group, Title: "Sector size", Kind: Choice, Allowed: []string{"512", "4096"},
			About:   "The logical sector size that the guest sees, in bytes. Existing data cannot be read with another size.",
			Default: "QEMU's own, 512", NAS: "`logical_sectorsize` of the device", Change: Never, disk: func(d *Disk) *string { return &d.LogicalSector },
		},
		{
			Name: "disk_physical_sector_size", Group: group, Title: "Physical sector size", Kind: Choice, Allowed: []string{"512", "4096"},
			About:   "The physical sector size that the guest sees, in bytes; needs `disk_sector_size`.",
			Default: "QEMU's own, 512", NAS: "`physical_sectorsize` of the device", Change: Never, disk: func(d *Disk) *string { return &d.PhysicalSector },
		},
		{
			Name: "disk_block_size", Group: group, Title: "Block size", Kind: Choice, Allowed: []string{"4k", "8k", "16k", "32k", "64k", "128k"},
			About:   "The block size of the volume. A disk from an image or an import has the block size of its source: for such a disk the setting is refused when it names the disk, and ignored when it applies to all disks.",
			Default: "16k, or the pool's own", NAS: "`volblocksize` of the volume", Change: Never, disk: func(d *Disk) *string { return &d.BlockSize },
		},
		{
			Name: "disk_compression", Group: group, Title: "Compression", Kind: Choice, Allowed: []string{"off", "lz4", "zstd", "zstd-fast", "gzip", "zle"},
			About:   "How ZFS compresses new data of the disk.",
			Default: "as the dataset above", NAS: "`compression` of the volume", Change: Always, disk: func(d *Disk) *string { return &d.Compression },
		},
		{
			Name: "disk_sync", Group: group, Title: "Sync", Kind: Choice, Allowed: []string{"standard", "always", "disabled"},
			About:   "Whether writes wait for the pool. With `disabled`, a power failure loses the writes of the last seconds, although the guest regards them as complete.",
			Default: "as the dataset above", NAS: "`sync` of the volume", Change: Always, disk: func(d *Disk) *string { return &d.Sync },
		},
		{
			Name: "disk_deduplication", Group: group, Title: "Deduplication", Kind: Choice, Allowed: []string{"off", "on", "verify"},
			About:   "Whether ZFS deduplicates blocks. Deduplication needs much memory, and stays in effect for existing data.",
			Default: "off, whatever the pool has", NAS: "`deduplication` of the volume", Change: Always, disk: func(d *Disk) *string { return &d.Deduplication },
		},
	}
}
