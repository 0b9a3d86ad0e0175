// Package capabilities collects what a VirtRigaud provider supports and answers GetCapabilities with it.
//
// It replaces upstream's package of the same import path, with the same names and behaviour. A provider describes
// itself once with a [Builder]; only what GetCapabilitiesResponse has a field for reaches the manager, the rest serves
// [Manager.HasCapability] and the profiles.
package capabilities

// Capability is one thing a provider can do.
type Capability string

// What a provider may be able to do.
const (
	CapabilityValidate            Capability = "validate"
	CapabilityCreate              Capability = "create"
	CapabilityDelete              Capability = "delete"
	CapabilityPower               Capability = "power"
	CapabilityDescribe            Capability = "describe"
	CapabilityGetCapabilities     Capability = "get_capabilities"
	CapabilityReconfigure         Capability = "reconfigure"
	CapabilityReconfigureOnline   Capability = "reconfigure_online"
	CapabilityDiskExpansionOnline Capability = "disk_expansion_online"
	CapabilitySnapshots           Capability = "snapshots"
	CapabilityMemorySnapshots     Capability = "memory_snapshots"
	CapabilityLinkedClones        Capability = "linked_clones"
	CapabilityImageImport         Capability = "image_import"
	CapabilityDiskExport          Capability = "disk_export"
	CapabilityDiskImport          Capability = "disk_import"
	CapabilityExportCompression   Capability = "export_compression"
	CapabilityTaskStatus          Capability = "task_status"
	CapabilityQEMU                Capability = "qemu"

	CapabilityClustering            Capability = "clustering"
	CapabilityImageArtifactIdentity Capability = "image_artifact_identity"
	CapabilityHonestReconfigure     Capability = "honest_reconfigure"
	CapabilityRoutedAdoption        Capability = "routed_adoption"
	CapabilityListOwnerFilter       Capability = "list_owner_filter"
)

// Profile is a named set of capabilities.
type Profile string

// The sets that have a name.
const (
	ProfileCore         Profile = "core"
	ProfileSnapshot     Profile = "snapshot"
	ProfileClone        Profile = "clone"
	ProfileImagePrepare Profile = "image_prepare"
	ProfileAdvanced     Profile = "advanced"
)

// Disk types.
var (
	DiskTypeThin      = "thin"
	DiskTypeThick     = "thick"
	DiskTypeEagerZero = "eager_zero"
	DiskTypeRaw       = "raw"
	DiskTypeQCOW2     = "qcow2"
	DiskTypeVMDK      = "vmdk"
	DiskTypeVHD       = "vhd"
	DiskTypeVDI       = "vdi"
)

// Network types.
var (
	NetworkTypeBridge      = "bridge"
	NetworkTypeNAT         = "nat"
	NetworkTypeHostOnly    = "host_only"
	NetworkTypeDistributed = "distributed"
	NetworkTypeVLAN        = "vlan"
	NetworkTypeOVS         = "ovs"
)
