package spec

import (
	"encoding/json"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
)

// Limits of a VM, and GiB in bytes.
const (
	maxVCPUs     = 255             // TrueNAS: vcpus x cores x threads
	minMemoryMiB = 20              // TrueNAS's limit
	MaxMemoryMiB = 8 * 1024 * 1024 // 8 TiB, more than any NAS has
	maxDiskGiB   = 1024 * 1024     // 1 PiB
	GiB          = int64(1) << 30  // bytes
)

// Class is the size and the firmware of a VM.
type Class struct {
	CPUs       int
	MemoryMiB  int64
	UEFI       bool
	SecureBoot bool
	TPM        bool
	Encrypted  bool  // the disks are encrypted at rest
	RootGiB    int64 // 0: as large as the image
	Thick      bool
	Thin       bool // the request names the type thin
	Hardware   settings.Values
}

// ClassJSON is class_json. Fields without a counterpart in Class are advisory, or refused when set.
type ClassJSON struct {
	CPU                int64
	MemoryMiB          int64
	Firmware           string
	DiskDefaults       *diskDefaults
	GuestToolsPolicy   string                     // advisory: tools come with the image
	ExtraConfig        map[string]json.RawMessage // see [ParseHardware]
	PerformanceProfile *PerformanceProfile
	SecurityProfile    *SecurityProfile
	ResourceLimits     *ResourceLimits
}

type diskDefaults struct {
	Type    string
	SizeGiB int64
}

// PerformanceProfile is the section of a class with hints for hypervisors; see [UnsupportedPerformance].
type PerformanceProfile struct {
	LatencySensitivity          string // advisory
	CPUHotAddEnabled            bool
	MemoryHotAddEnabled         bool
	VirtualizationBasedSecurity bool
	NestedVirtualization        bool // every VM has the host's CPU with its virtualization
	HyperThreadingPolicy        string
}

// SecurityProfile is the section of a class about secure boot, TPM and encryption.
type SecurityProfile struct {
	SecureBoot        bool
	TPMEnabled        bool
	TPMVersion        string
	VTDEnabled        bool
	EncryptionEnabled bool
	KeyProvider       string
	RequireEncryption bool
}

// ResourceLimits is the section of a class with limits of CPU and memory; see [UnsupportedLimits].
type ResourceLimits struct {
	CPULimit             int64
	CPUReservation       int64
	MemoryLimitMiB       int64
	MemoryReservationMiB int64
	CPUShares            int64
}

// ParseClass reads class_json and refuses values that a TrueNAS VM cannot have.
func ParseClass(text string) (Class, error) {
	const field = "class_json"
	if strings.TrimSpace(text) == "" || strings.TrimSpace(text) == "null" {
		return Class{}, refusal.InvalidArgument(field, "must be given")
	}
	var j ClassJSON
	if err := DecodeJSON(field, text, &j); err != nil {
		return Class{}, err
	}
	c := Class{CPUs: int(j.CPU), MemoryMiB: j.MemoryMiB}
	if err := CheckSize(j); err != nil {
		return Class{}, err
	}
	var err error
	if c.UEFI, err = ParseFirmware(j.Firmware); err != nil {
		return Class{}, err
	}
	if err := c.disk(j.DiskDefaults); err != nil {
		return Class{}, err
	}
	if err := c.Security(j.SecurityProfile); err != nil {
		return Class{}, err
	}
	if c.Hardware, err = ParseHardware(j.ExtraConfig, c.CPUs); err != nil {
		return Class{}, err
	}
	return c, RefuseFirst(append(UnsupportedPerformance(j.PerformanceProfile), UnsupportedLimits(j.ResourceLimits)...))
}

// CheckSize refuses a number of CPUs or an amount of memory that no VM can have.
func CheckSize(j ClassJSON) error {
	if j.CPU < 1 || j.CPU > maxVCPUs {
		return refusal.InvalidArgument("class_json.CPU", "%d; allowed are 1 to %d", j.CPU, maxVCPUs)
	}
	if j.MemoryMiB < minMemoryMiB || j.MemoryMiB > MaxMemoryMiB {
		return refusal.InvalidArgument("class_json.MemoryMiB", "%d; allowed are %d to %d MiB", j.MemoryMiB, minMemoryMiB, MaxMemoryMiB)
	}
	return nil
}

// ParseFirmware reports whether the VM boots by UEFI. The manager's default is BIOS.
func ParseFirmware(name string) (uefi bool, err error) {
	switch strings.ToUpper(name) {
	case "", "BIOS":
		return false, nil
	case "UEFI", "EFI":
		return true, nil
	}
	return false, refusal.InvalidArgument("class_json.Firmware", "%q; allowed are BIOS, UEFI and EFI", name)
}

func (c *Class) disk(d *diskDefaults) error {
	if d == nil {
		return nil
	}
	if d.SizeGiB < 0 || d.SizeGiB > maxDiskGiB {
		return refusal.InvalidArgument("class_json.DiskDefaults.SizeGiB", "%d; allowed are 1 to %d GiB, or 0 for the image's own size", d.SizeGiB, maxDiskGiB)
	}
	c.RootGiB = d.SizeGiB
	var err error
	c.Thick, err = parseDiskType("class_json.DiskDefaults.Type", d.Type)
	c.Thin = d.Type != "" && !c.Thick
	return err
}

// parseDiskType reports whether a disk's space is reserved when it is made.
func parseDiskType(field, name string) (thick bool, err error) {
	switch strings.ToLower(name) {
	case "", "thin":
		return false, nil
	case "thick":
		return true, nil
	}
	return false, refusal.InvalidArgument(field, "%q; allowed are thin and thick", name)
}

// Security applies the security section of a class.
func (c *Class) Security(p *SecurityProfile) error {
	if p == nil {
		return nil
	}
	c.SecureBoot, c.TPM, c.Encrypted = p.SecureBoot, p.TPMEnabled, p.EncryptionEnabled || p.RequireEncryption
	if c.SecureBoot && !c.UEFI {
		return refusal.InvalidArgument("class_json.SecurityProfile.SecureBoot", "needs Firmware UEFI")
	}
	if p.TPMVersion != "" && p.TPMVersion != "2.0" {
		return refusal.InvalidArgument("class_json.SecurityProfile.TPMVersion", "%q; TrueNAS emulates 2.0", p.TPMVersion)
	}
	return RefuseFirst([]UnsupportedSetting{
		{"class_json.SecurityProfile.VTDEnabled", p.VTDEnabled, "TrueNAS gives no guest a virtual IOMMU"},
		{"class_json.SecurityProfile.KeyProvider", p.KeyProvider != "", "TrueNAS keeps its own keys"},
	})
}

// UnsupportedSetting is a setting that TrueNAS cannot apply, and the reason.
type UnsupportedSetting struct {
	field string
	given bool
	why   string
}

// RefuseFirst returns the refusal of the first setting in the list that a request gives, or nil.
func RefuseFirst(list []UnsupportedSetting) error {
	for _, r := range list {
		if r.given {
			return refusal.InvalidArgument(r.field, "cannot be honoured: %s", r.why)
		}
	}
	return nil
}

// UnsupportedPerformance lists the settings of the section that TrueNAS cannot apply.
func UnsupportedPerformance(p *PerformanceProfile) []UnsupportedSetting {
	if p == nil {
		return nil
	}
	policy := strings.ToLower(p.HyperThreadingPolicy)
	return []UnsupportedSetting{
		{"class_json.PerformanceProfile.CPUHotAddEnabled", p.CPUHotAddEnabled, "TrueNAS applies a change of CPUs at the next start"},
		{"class_json.PerformanceProfile.MemoryHotAddEnabled", p.MemoryHotAddEnabled, "TrueNAS applies a change of memory at the next start"},
		{"class_json.PerformanceProfile.VirtualizationBasedSecurity", p.VirtualizationBasedSecurity, "TrueNAS has no such setting"},
		{"class_json.PerformanceProfile.HyperThreadingPolicy", policy != "" && policy != "auto", "TrueNAS schedules threads itself; use auto"},
	}
}

// UnsupportedLimits lists the limits that TrueNAS cannot apply.
func UnsupportedLimits(l *ResourceLimits) []UnsupportedSetting {
	if l == nil {
		return nil
	}
	const why = "TrueNAS neither limits nor reserves what a VM uses beyond its class"
	return []UnsupportedSetting{
		{"class_json.ResourceLimits.CPULimit", l.CPULimit != 0, why},
		{"class_json.ResourceLimits.CPUReservation", l.CPUReservation != 0, why},
		{"class_json.ResourceLimits.MemoryLimitMiB", l.MemoryLimitMiB != 0, why},
		{"class_json.ResourceLimits.MemoryReservationMiB", l.MemoryReservationMiB != 0, why},
		{"class_json.ResourceLimits.CPUShares", l.CPUShares != 0, why},
	}
}
