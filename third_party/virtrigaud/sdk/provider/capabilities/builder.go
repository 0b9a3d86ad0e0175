package capabilities

// Builder fills a [Manager] in one expression.
type Builder struct {
	manager *Manager
}

// NewBuilder begins with a provider that supports nothing.
func NewBuilder() *Builder { return &Builder{manager: NewManager()} }

// Core adds the capabilities that every provider has.
func (b *Builder) Core() *Builder { return b.add(GetProfileCapabilities(ProfileCore)...) }

// Snapshots adds snapshots of disks.
func (b *Builder) Snapshots() *Builder { return b.add(CapabilitySnapshots) }

// MemorySnapshots adds snapshots that keep the guest's memory.
func (b *Builder) MemorySnapshots() *Builder { return b.add(CapabilityMemorySnapshots) }

// LinkedClones adds clones that share blocks with their source.
func (b *Builder) LinkedClones() *Builder { return b.add(CapabilityLinkedClones) }

// ImageImport adds ImagePrepare.
func (b *Builder) ImageImport() *Builder { return b.add(CapabilityImageImport) }

// Reconfigure adds changes to a stopped VM.
func (b *Builder) Reconfigure() *Builder { return b.add(CapabilityReconfigure) }

// OnlineReconfigure adds changes to a running VM.
func (b *Builder) OnlineReconfigure() *Builder { return b.add(CapabilityReconfigureOnline) }

// OnlineDiskExpansion adds growing the disks of a running VM.
func (b *Builder) OnlineDiskExpansion() *Builder { return b.add(CapabilityDiskExpansionOnline) }

// TaskStatus adds asynchronous operations.
func (b *Builder) TaskStatus() *Builder { return b.add(CapabilityTaskStatus) }

// DiskExport adds ExportDisk, writing these formats.
func (b *Builder) DiskExport(formats ...string) *Builder {
	b.manager.SetSupportedExportFormats(formats)
	return b.add(CapabilityDiskExport)
}

// DiskImport adds ImportDisk, reading these formats.
func (b *Builder) DiskImport(formats ...string) *Builder {
	b.manager.SetSupportedImportFormats(formats)
	return b.add(CapabilityDiskImport)
}

// ExportCompression adds compressed exports.
func (b *Builder) ExportCompression() *Builder { return b.add(CapabilityExportCompression) }

// ExportBackends sets the staging places that ExportDisk writes to.
func (b *Builder) ExportBackends(backends ...string) *Builder {
	b.manager.SetSupportedExportBackends(backends)
	return b
}

// ImportBackends sets the staging places that ImportDisk reads from.
func (b *Builder) ImportBackends(backends ...string) *Builder {
	b.manager.SetSupportedImportBackends(backends)
	return b
}

// TransferModes sets the modes in which migrations may transfer data.
func (b *Builder) TransferModes(modes ...string) *Builder {
	b.manager.SetSupportedTransferModes(modes)
	return b
}

// QEMU marks a provider whose VMs run in QEMU.
func (b *Builder) QEMU() *Builder { return b.add(CapabilityQEMU) }

// Clustering marks a provider that drives several hosts.
func (b *Builder) Clustering() *Builder { return b.add(CapabilityClustering) }

// ImageArtifactIdentity adds prepared images that belong to one VMImage and one source digest.
func (b *Builder) ImageArtifactIdentity() *Builder { return b.add(CapabilityImageArtifactIdentity) }

// HonestReconfigure adds replies of Reconfigure that report whether a restart is required. Such a provider makes all its replies
// with [HonestReconfigureResponse].
func (b *Builder) HonestReconfigure() *Builder { return b.add(CapabilityHonestReconfigure) }

// DiskTypes sets the disk types.
func (b *Builder) DiskTypes(types ...string) *Builder {
	b.manager.SetSupportedDiskTypes(types)
	return b
}

// NetworkTypes sets the network types.
func (b *Builder) NetworkTypes(types ...string) *Builder {
	b.manager.SetSupportedNetworkTypes(types)
	return b
}

// Build returns the Manager.
func (b *Builder) Build() *Manager { return b.manager }

func (b *Builder) add(caps ...Capability) *Builder {
	for _, c := range caps {
		b.manager.AddCapability(c)
	}
	return b
}
