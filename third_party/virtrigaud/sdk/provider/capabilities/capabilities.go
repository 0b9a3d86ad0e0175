// Package capabilities collects the features of a VirtRigaud provider for its reply to GetCapabilities.
//
// It replaces upstream's package of the same import path, with the same names and behaviour. A provider describes
// itself once with a [Builder]. Only capabilities with a field in GetCapabilitiesResponse reach the manager; the others serve
// [Manager.HasCapability] and the profiles.
package capabilities

// Capability is a feature of a provider.
type Capability string

// Capabilities.
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

// The named profiles.
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
