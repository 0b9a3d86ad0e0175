package server

import (
	"encoding/json"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/truenas"
)

const (
	maxVCPUs     = 255             // TrueNAS: vcpus x cores x threads
	minMemoryMiB = 20              // TrueNAS's own limit
	maxMemoryMiB = 8 * 1024 * 1024 // 8 TiB, more than any NAS has
	maxDiskGiB   = 1024 * 1024     // 1 PiB
	gib          = int64(1) << 30  // bytes
)

// class is the size and the firmware of a VM.
type class struct {
	cpus       int
	memoryMiB  int64
	uefi       bool
	secureBoot bool
	tpm        bool
	rootGiB    int64 // 0: as large as the image
	thick      bool
	thin       bool // asked for by name, which a missing type is not
	hardware   settings.Values
	inherits   *truenas.VM // the source of a clone, whose hardware it has where no setting says otherwise
}

// classJSON is class_json. What it holds and class does not is advisory, or refused when set.
type classJSON struct {
	CPU                int64
	MemoryMiB          int64
	Firmware           string
	DiskDefaults       *diskDefaults
	GuestToolsPolicy   string                     // advisory: tools come with the image
	ExtraConfig        map[string]json.RawMessage // see [parseHardware]
	PerformanceProfile *performanceProfile
	SecurityProfile    *securityProfile
	ResourceLimits     *resourceLimits
}

type diskDefaults struct {
	Type    string
	SizeGiB int64
}

type performanceProfile struct {
	LatencySensitivity          string // advisory
	CPUHotAddEnabled            bool
	MemoryHotAddEnabled         bool
	VirtualizationBasedSecurity bool
	NestedVirtualization        bool // every VM has the host's CPU, its virtualization included
	HyperThreadingPolicy        string
}

type securityProfile struct {
	SecureBoot        bool
	TPMEnabled        bool
	TPMVersion        string
	VTDEnabled        bool
	EncryptionEnabled bool
	KeyProvider       string
	RequireEncryption bool
}

type resourceLimits struct {
	CPULimit             int64
	CPUReservation       int64
	MemoryLimitMiB       int64
	MemoryReservationMiB int64
	CPUShares            int64
}

// parseClass reads class_json and refuses what a TrueNAS VM cannot be.
func parseClass(text string) (class, error) {
	const field = "class_json"
	if strings.TrimSpace(text) == "" || strings.TrimSpace(text) == "null" {
		return class{}, refusal.InvalidArgument(field, "must be given")
	}
	var j classJSON
	if err := decodeJSON(field, text, &j); err != nil {
		return class{}, err
	}
	c := class{cpus: int(j.CPU), memoryMiB: j.MemoryMiB}
	if err := checkSize(j); err != nil {
		return class{}, err
	}
	var err error
	if c.uefi, err = parseFirmware(j.Firmware); err != nil {
		return class{}, err
	}
	if err := c.disk(j.DiskDefaults); err != nil {
		return class{}, err
	}
	if err := c.security(j.SecurityProfile); err != nil {
		return class{}, err
	}
	if c.hardware, err = parseHardware(j.ExtraConfig, c.cpus); err != nil {
		return class{}, err
	}
	return c, firstAsked(append(performanceRefusals(j.PerformanceProfile), limitRefusals(j.ResourceLimits)...))
}

func checkSize(j classJSON) error {
	if j.CPU < 1 || j.CPU > maxVCPUs {
		return refusal.InvalidArgument("class_json.CPU", "%d; allowed are 1 to %d", j.CPU, maxVCPUs)
	}
	if j.MemoryMiB < minMemoryMiB || j.MemoryMiB > maxMemoryMiB {
		return refusal.InvalidArgument("class_json.MemoryMiB", "%d; allowed are %d to %d MiB", j.MemoryMiB, minMemoryMiB, maxMemoryMiB)
	}
	return nil
}

// parseFirmware answers whether the VM boots by UEFI. The manager's default is BIOS.
func parseFirmware(name string) (uefi bool, err error) {
	switch strings.ToUpper(name) {
	case "", "BIOS":
		return false, nil
	case "UEFI", "EFI":
		return true, nil
	}
	return false, refusal.InvalidArgument("class_json.Firmware", "%q; allowed are BIOS, UEFI and EFI", name)
}

func (c *class) disk(d *diskDefaults) error {
	if d == nil {
		return nil
	}
	if d.SizeGiB < 0 || d.SizeGiB > maxDiskGiB {
		return refusal.InvalidArgument("class_json.DiskDefaults.SizeGiB", "%d; allowed are 1 to %d GiB, or 0 for the image's own size", d.SizeGiB, maxDiskGiB)
	}
	c.rootGiB = d.SizeGiB
	var err error
	c.thick, err = parseDiskType("class_json.DiskDefaults.Type", d.Type)
	c.thin = d.Type != "" && !c.thick
	return err
}

// parseDiskType answers whether a disk's space is reserved when it is made.
func parseDiskType(field, name string) (thick bool, err error) {
	switch strings.ToLower(name) {
	case "", "thin":
		return false, nil
	case "thick":
		return true, nil
	}
	return false, refusal.InvalidArgument(field, "%q; allowed are thin and thick", name)
}

func (c *class) security(p *securityProfile) error {
	if p == nil {
		return nil
	}
	c.secureBoot, c.tpm = p.SecureBoot, p.TPMEnabled
	if c.secureBoot && !c.uefi {
		return refusal.InvalidArgument("class_json.SecurityProfile.SecureBoot", "needs Firmware UEFI")
	}
	if p.TPMVersion != "" && p.TPMVersion != "2.0" {
		return refusal.InvalidArgument("class_json.SecurityProfile.TPMVersion", "%q; TrueNAS emulates 2.0", p.TPMVersion)
	}
	return firstAsked([]unsupportedSetting{
		{"class_json.SecurityProfile.VTDEnabled", p.VTDEnabled, "TrueNAS gives no guest a virtual IOMMU"},
		{"class_json.SecurityProfile.EncryptionEnabled", p.EncryptionEnabled, "a VM is encrypted when its dataset is; encrypt the dataset on the NAS"},
		{"class_json.SecurityProfile.RequireEncryption", p.RequireEncryption, "a VM is encrypted when its dataset is; encrypt the dataset on the NAS"},
		{"class_json.SecurityProfile.KeyProvider", p.KeyProvider != "", "TrueNAS keeps its own keys"},
	})
}

// unsupportedSetting is a setting that cannot be honoured, and why.
type unsupportedSetting struct {
	field string
	asked bool
	why   string
}

func firstAsked(list []unsupportedSetting) error {
	for _, r := range list {
		if r.asked {
			return refusal.InvalidArgument(r.field, "cannot be honoured: %s", r.why)
		}
	}
	return nil
}

func performanceRefusals(p *performanceProfile) []unsupportedSetting {
	if p == nil {
		return nil
	}
	policy := strings.ToLower(p.HyperThreadingPolicy)
	return []unsupportedSetting{
		{"class_json.PerformanceProfile.CPUHotAddEnabled", p.CPUHotAddEnabled, "TrueNAS applies a change of CPUs at the next start"},
		{"class_json.PerformanceProfile.MemoryHotAddEnabled", p.MemoryHotAddEnabled, "TrueNAS applies a change of memory at the next start"},
		{"class_json.PerformanceProfile.VirtualizationBasedSecurity", p.VirtualizationBasedSecurity, "TrueNAS has no such setting"},
		{"class_json.PerformanceProfile.HyperThreadingPolicy", policy != "" && policy != "auto", "TrueNAS schedules threads itself; use auto"},
	}
}

func limitRefusals(l *resourceLimits) []unsupportedSetting {
	if l == nil {
		return nil
	}
	const why = "TrueNAS neither limits nor reserves what a VM uses beyond its class"
	return []unsupportedSetting{
		{"class_json.ResourceLimits.CPULimit", l.CPULimit != 0, why},
		{"class_json.ResourceLimits.CPUReservation", l.CPUReservation != 0, why},
		{"class_json.ResourceLimits.MemoryLimitMiB", l.MemoryLimitMiB != 0, why},
		{"class_json.ResourceLimits.MemoryReservationMiB", l.MemoryReservationMiB != 0, why},
		{"class_json.ResourceLimits.CPUShares", l.CPUShares != 0, why},
	}
}
