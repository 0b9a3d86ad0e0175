package server

import (
	"encoding/json"
	"path"
	"strings"

	"github.com/dustin/go-humanize"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/truenas"
)

// cloneClassJSON is what a clone is to have other than its source: a VMClass as it is written
// (memory is a quantity), or the form that Create has.
type cloneClassJSON struct {
	CPU                int64
	Memory             string
	MemoryMiB          int64
	Firmware           string
	DiskDefaults       json.RawMessage // the disks are the source's
	GuestToolsPolicy   string
	ExtraConfig        map[string]json.RawMessage
	PerformanceProfile *performanceProfile
	SecurityProfile    *securityProfile
	ResourceLimits     *resourceLimits
}

type customizeJSON struct {
	Hostname string
	Tags     []string
}

// parse reads a Clone request and what it inherits from its source.
func (c *cloning) parse(req *providerv1.CloneRequest) error {
	c.want = spec{name: req.GetTargetName(), owner: req.GetTargetVm().GetUid(), namespace: req.GetTargetVm().GetNamespace()}
	if err := checkName("target_name", c.want.name); err != nil {
		return err
	}
	var custom customizeJSON
	if err := decodeJSON("customize_json", req.GetCustomizeJson(), &custom); err != nil {
		return err
	}
	if c.host = custom.Hostname; c.host == "" {
		c.host = c.want.name
	}
	if err := checkName("customize_json.hostname", c.host); err != nil {
		return err
	}
	c.want.tags = custom.Tags
	if err := checkTags(c.want.tags); err != nil {
		return err
	}
	var err error
	if c.want.pool, err = parsePlacement("placement_json", req.GetPlacementJson()); err != nil {
		return err
	}
	if c.want.pool == "" && len(disksOf(c.source)) > 0 {
		c.want.pool = poolOf(disksOf(c.source)[0])
	}
	if !c.linked {
		c.want.source, c.want.host = c.source.UUID, c.host
	}
	c.inheritNICs()
	return c.parseClass(req.GetClassJson())
}

// classOf is what a VM has.
func classOf(vm truenas.VM) class {
	return class{cpus: cpus(vm), memoryMiB: vm.MemoryMiB, uefi: vm.Bootloader == truenas.BootUEFI, secureBoot: vm.SecureBoot, tpm: vm.TPM}
}

// parseClass lays what is asked for over what the source has.
func (c *cloning) parseClass(text string) error {
	c.want.class = classOf(c.source)
	c.want.class.inherits = &c.source
	if strings.TrimSpace(text) == "" || strings.TrimSpace(text) == "null" {
		return nil
	}
	var j cloneClassJSON
	if err := decodeJSON("class_json", text, &j); err != nil {
		return err
	}
	if j.Memory != "" {
		// The suffixes of Kubernetes' quantities (Mi, Gi, M, G) are among those that it knows.
		bytes, err := humanize.ParseBytes(j.Memory)
		if err != nil || bytes > maxMemoryMiB<<20 {
			return refusal.InvalidArgument("class_json.memory", "%q is not a quantity such as 4Gi", j.Memory)
		}
		j.MemoryMiB = int64(bytes >> 20)
	}
	full := classJSON{CPU: j.CPU, MemoryMiB: j.MemoryMiB}
	if full.CPU == 0 {
		full.CPU = int64(c.want.class.cpus)
	}
	if full.MemoryMiB == 0 {
		full.MemoryMiB = c.want.class.memoryMiB
	}
	if err := checkSize(full); err != nil {
		return err
	}
	c.want.class.cpus, c.want.class.memoryMiB = int(full.CPU), full.MemoryMiB
	if j.Firmware != "" {
		uefi, err := parseFirmware(j.Firmware)
		if err != nil {
			return err
		}
		c.want.class.uefi = uefi
	}
	if err := c.want.class.security(j.SecurityProfile); err != nil {
		return err
	}
	var err error
	if c.want.class.hardware, err = parseHardware(j.ExtraConfig, c.want.class.cpus); err != nil {
		return err
	}
	if c.want.class.hardware.CDROM != "" {
		return refusal.InvalidArgument(hardwareField("cdrom"), "a clone is made without CD-ROMs")
	}
	return firstAsked(append(performanceRefusals(j.PerformanceProfile), limitRefusals(j.ResourceLimits)...))
}

// inheritNICs gives the clone a NIC for every one of the source, with an address of its own.
func (c *cloning) inheritNICs() {
	for _, d := range c.source.Devices {
		if d.Attributes.DType == truenas.DeviceNIC {
			c.want.networks = append(c.want.networks, network{at: "source_vm_id", attach: d.Attributes.NICAttach, e1000: d.Attributes.Type == "E1000"})
		}
	}
}

func baseName(volume string) string { return path.Base(volume) }
