package capabilities

import (
	"context"
	"slices"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Manager holds the capabilities of a provider. It is filled before the provider serves and only read afterwards.
type Manager struct {
	has           map[Capability]bool
	diskTypes     []string
	networkTypes  []string
	exportFormats []string
	importFormats []string
	exportTo      []string
	importFrom    []string
	transferModes []string
}

// NewManager returns a Manager of a provider that supports nothing.
func NewManager() *Manager { return &Manager{has: map[Capability]bool{}} }

// AddCapability adds one capability.
func (m *Manager) AddCapability(cap Capability) *Manager {
	m.has[cap] = true
	return m
}

// RemoveCapability removes one capability.
func (m *Manager) RemoveCapability(cap Capability) *Manager {
	delete(m.has, cap)
	return m
}

// HasCapability reports whether a capability was added.
func (m *Manager) HasCapability(cap Capability) bool { return m.has[cap] }

// SetSupportedDiskTypes sets the disk types that GetCapabilities reports.
func (m *Manager) SetSupportedDiskTypes(types []string) *Manager {
	m.diskTypes = slices.Clone(types)
	return m
}

// SetSupportedNetworkTypes sets the network types that GetCapabilities reports.
func (m *Manager) SetSupportedNetworkTypes(types []string) *Manager {
	m.networkTypes = slices.Clone(types)
	return m
}

// SetSupportedExportFormats sets the disk formats that ExportDisk writes.
func (m *Manager) SetSupportedExportFormats(types []string) *Manager {
	m.exportFormats = slices.Clone(types)
	return m
}

// SetSupportedImportFormats sets the disk formats that ImportDisk reads.
func (m *Manager) SetSupportedImportFormats(types []string) *Manager {
	m.importFormats = slices.Clone(types)
	return m
}

// SetSupportedExportBackends sets the staging places that ExportDisk writes to.
func (m *Manager) SetSupportedExportBackends(backends []string) *Manager {
	m.exportTo = slices.Clone(backends)
	return m
}

// SetSupportedImportBackends sets the staging places that ImportDisk reads from.
func (m *Manager) SetSupportedImportBackends(backends []string) *Manager {
	m.importFrom = slices.Clone(backends)
	return m
}

// SetSupportedTransferModes sets the modes in which migrations may transfer data.
func (m *Manager) SetSupportedTransferModes(modes []string) *Manager {
	m.transferModes = slices.Clone(modes)
	return m
}

// GetCapabilities implements the RPC.
func (m *Manager) GetCapabilities(_ context.Context, _ *providerv1.GetCapabilitiesRequest) (*providerv1.GetCapabilitiesResponse, error) {
	return &providerv1.GetCapabilitiesResponse{
		SupportsReconfigureOnline:   m.has[CapabilityReconfigureOnline],
		SupportsDiskExpansionOnline: m.has[CapabilityDiskExpansionOnline],
		SupportsSnapshots:           m.has[CapabilitySnapshots],
		SupportsMemorySnapshots:     m.has[CapabilityMemorySnapshots],
		SupportsLinkedClones:        m.has[CapabilityLinkedClones],
		SupportsImageImport:         m.has[CapabilityImageImport],
		SupportsDiskExport:          m.has[CapabilityDiskExport],
		SupportsDiskImport:          m.has[CapabilityDiskImport],
		SupportsExportCompression:   m.has[CapabilityExportCompression],
		SupportsClustering:          m.has[CapabilityClustering],
		SupportsRoutedAdoption:      m.has[CapabilityRoutedAdoption],
		SupportsListOwnerFilter:     m.has[CapabilityListOwnerFilter],
		SupportsHonestReconfigure:   m.has[CapabilityHonestReconfigure],
		SupportedDiskTypes:          slices.Clone(m.diskTypes),
		SupportedNetworkTypes:       slices.Clone(m.networkTypes),
		SupportedExportFormats:      slices.Clone(m.exportFormats),
		SupportedImportFormats:      slices.Clone(m.importFormats),
		SupportedExportBackends:     slices.Clone(m.exportTo),
		SupportedImportBackends:     slices.Clone(m.importFrom),
		SupportedTransferModes:      slices.Clone(m.transferModes),

		SupportsImageArtifactIdentity: m.has[CapabilityImageArtifactIdentity],
	}, nil
}

// GetProfileCapabilities lists the required capabilities of a profile. An unknown profile requires none.
func GetProfileCapabilities(profile Profile) []Capability {
	core := []Capability{
		CapabilityValidate, CapabilityCreate, CapabilityDelete, CapabilityPower, CapabilityDescribe, CapabilityGetCapabilities,
	}
	switch profile {
	case ProfileCore:
		return core
	case ProfileSnapshot:
		return append(core, CapabilitySnapshots)
	case ProfileClone:
		return append(core, CapabilityLinkedClones)
	case ProfileImagePrepare:
		return append(core, CapabilityImageImport)
	case ProfileAdvanced:
		return append(core, CapabilityReconfigure, CapabilitySnapshots, CapabilityLinkedClones, CapabilityImageImport)
	}
	return nil
}

// SupportsProfile reports whether all capabilities of a known profile are supported.
func (m *Manager) SupportsProfile(profile Profile) bool {
	needed := GetProfileCapabilities(profile)
	missing := slices.ContainsFunc(needed, func(c Capability) bool { return !m.has[c] })
	return len(needed) > 0 && !missing
}

// GetSupportedProfiles lists the supported profiles.
func (m *Manager) GetSupportedProfiles() []Profile {
	var supported []Profile
	for _, p := range []Profile{ProfileCore, ProfileSnapshot, ProfileClone, ProfileImagePrepare, ProfileAdvanced} {
		if m.SupportsProfile(p) {
			supported = append(supported, p)
		}
	}
	return supported
}
