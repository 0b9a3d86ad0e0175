package server

import (
	"encoding/json"
	"path"
	"strings"

	"github.com/dustin/go-humanize"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// cloneClassJSON overrides the hardware of the source: a VMClass as users write it (memory is a quantity), or the form of a Create
// request.
type cloneClassJSON struct {
	CPU                int64
	Memory             string
	MemoryMiB          int64
	Firmware           string
	DiskDefaults       json.RawMessage // accepted and ignored: the disks are the source's
	GuestToolsPolicy   string
	ExtraConfig        map[string]json.RawMessage
	PerformanceProfile *spec.PerformanceProfile
	SecurityProfile    *spec.SecurityProfile
	ResourceLimits     *spec.ResourceLimits
}

type customizeJSON struct {
	Hostname string
	Tags     []string
}

// parse reads a Clone request and the fields that the clone inherits from its source.
func (c *cloning) parse(req *providerv1.CloneRequest) error {
	c.want = spec.VM{Name: req.GetTargetName(), Owner: req.GetTargetVm().GetUid(), Namespace: req.GetTargetVm().GetNamespace()}
	if err := spec.CheckName("target_name", c.want.Name); err != nil {
		return err
	}
	var custom customizeJSON
	if err := spec.DecodeJSON("customize_json", req.GetCustomizeJson(), &custom); err != nil {
		return err
	}
	if c.host = custom.Hostname; c.host == "" {
		c.host = c.want.Name
	}
	if err := spec.CheckName("customize_json.hostname", c.host); err != nil {
		return err
	}
	c.want.Tags = custom.Tags
	if err := spec.CheckTags(c.want.Tags); err != nil {
		return err
	}
	var err error
	if c.want.Pool, err = spec.ParsePlacement("placement_json", req.GetPlacementJson()); err != nil {
		return err
	}
	if c.want.Pool == "" && len(c.disks()) > 0 {
		c.want.Pool = spec.PoolOf(c.disks()[0])
	}
	if !c.linked {
		c.want.Source, c.want.Host = c.source.UUID, c.host
	}
	c.inheritNICs()
	return c.parseClass(req.GetClassJson())
}

// classOf returns the class of an existing VM.
func classOf(vm truenas.VM) spec.Class {
	return spec.Class{CPUs: vmrecord.CPUs(vm), MemoryMiB: vm.MemoryMiB, UEFI: vm.Bootloader == truenas.BootUEFI, SecureBoot: vm.SecureBoot, TPM: vm.TPM}
}

// parseClass overrides the hardware of the source with the requested fields.
func (c *cloning) parseClass(text string) error {
	c.want.Class = classOf(c.source)
	if strings.TrimSpace(text) == "" || strings.TrimSpace(text) == "null" {
		return nil
	}
	var j cloneClassJSON
	if err := spec.DecodeJSON("class_json", text, &j); err != nil {
		return err
	}
	if j.Memory != "" {
		// ParseBytes knows the suffixes of Kubernetes' quantities (Mi, Gi, M, G).
		bytes, err := humanize.ParseBytes(j.Memory)
		if err != nil || bytes > spec.MaxMemoryMiB<<20 {
			return refusal.InvalidArgument("class_json.memory", "%q is not a quantity such as 4Gi", j.Memory)
		}
		j.MemoryMiB = int64(bytes >> 20)
	}
	full := spec.ClassJSON{CPU: j.CPU, MemoryMiB: j.MemoryMiB}
	if full.CPU == 0 {
		full.CPU = int64(c.want.Class.CPUs)
	}
	if full.MemoryMiB == 0 {
		full.MemoryMiB = c.want.Class.MemoryMiB
	}
	if err := spec.CheckSize(full); err != nil {
		return err
	}
	c.want.Class.CPUs, c.want.Class.MemoryMiB = int(full.CPU), full.MemoryMiB
	if j.Firmware != "" {
		uefi, err := spec.ParseFirmware(j.Firmware)
		if err != nil {
			return err
		}
		c.want.Class.UEFI = uefi
	}
	if err := c.want.Class.Security(j.SecurityProfile); err != nil {
		return err
	}
	var err error
	if c.want.Class.Hardware, err = spec.ParseHardware(j.ExtraConfig, c.want.Class.CPUs); err != nil {
		return err
	}
	if c.want.Class.Hardware.CDROM != "" {
		return refusal.InvalidArgument(spec.HardwareField("cdrom"), "a clone is made without CD-ROMs")
	}
	return spec.RefuseFirst(append(spec.UnsupportedPerformance(j.PerformanceProfile), spec.UnsupportedLimits(j.ResourceLimits)...))
}

// inheritNICs gives the clone a NIC with a new address for each NIC of the source.
func (c *cloning) inheritNICs() {
	for _, d := range c.source.Devices {
		if d.Attributes.DType == truenas.DeviceNIC {
			c.want.Networks = append(c.want.Networks, spec.Network{Field: "source_vm_id", Attach: d.Attributes.NICAttach, E1000: d.Attributes.Type == "E1000"})
		}
	}
}

func baseName(volume string) string { return path.Base(volume) }

// disks returns the volumes of the source, the root disk first: a user may have put another disk before it in the boot order, and
// the name of a copy must not depend on that order.
func (c *cloning) disks() []string {
	volumes := vmrecord.Disks(c.source)
	root := c.s.layout.RootVolume(volumes)
	first, rest := split(volumes, func(volume string) bool { return volume == root })
	return append(first, rest...)
}
