package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// propBooted holds, on the dataset of a VM, the process of the running VM and the settings at its start. It is written before the
// first change that TrueNAS applies at the next start, so that an interrupted call leaves it too.
const propBooted = "virtrigaud:booted"

// boot is one run of a VM. TrueNAS reports the id of its process: a stop and a start change the id. A reboot from within the guest
// does not change it, and applies no settings.
type boot struct {
	pid      int64
	settings string // see [comparison.settings]
}

func (b boot) String() string { return fmt.Sprintf("%d %s", b.pid, b.settings) }

func parseBoot(text string) boot {
	pid, settings, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(pid, 10, 64)
	if err != nil {
		return boot{}
	}
	return boot{n, settings}
}

// processOf returns the id of the process of a running VM, or 0.
func processOf(vm truenas.VM) int64 {
	if vm.Status.PID == nil {
		return 0
	}
	return *vm.Status.PID
}

// settings identifies the settings at a start of the VM: CPUs, memory, disks with their sizes, NICs, and the settings of the
// emulated hardware.
func (c *comparison) settings() string {
	var parts []string
	for _, d := range c.vm.Devices {
		a := d.Attributes
		switch a.DType {
		case truenas.DeviceDisk, truenas.DeviceRaw:
			parts = append(parts, fmt.Sprintf("disk %s %d", a.Path, c.datasets[spec.VolumeOf(a.Path)].VolsizeBytes)+diskText(a))
		case truenas.DeviceNIC:
			parts = append(parts, fmt.Sprintf("nic %s %s %s", vmrecord.MAC(d), a.Type, a.NICAttach))
		case truenas.DevicePCI, truenas.DeviceUSB:
			parts = append(parts, fmt.Sprintf("host %s%s", a.PPTDev, a.USBDevice))
		case truenas.DeviceDisplay:
			parts = append(parts, fmt.Sprintf("display %s %s %s", a.Type, a.Bind, a.Resolution))
		}
	}
	slices.Sort(parts)
	parts = append(parts, hardware.Of(c.vm)...)
	sum := sha256.Sum256([]byte(strings.Join(parts, "\n")))
	return fmt.Sprintf("cpus=%d memory_mib=%d devices=%s", vmrecord.CPUs(c.vm), c.vm.MemoryMiB, hex.EncodeToString(sum[:8]))
}

// compareBoot checks whether the VM still runs with settings from before an earlier change.
func (c *comparison) compareBoot() {
	d, ok := c.datasets[c.home]
	if _, ours := c.s.marks.InDataset(d); !ok || !ours {
		return
	}
	c.recordable, c.boot = true, parseBoot(d.LocalUserProperties[propBooted])
	now := boot{processOf(c.vm), c.settings()}
	if c.boot.pid != now.pid || now.pid == 0 {
		c.boot = now
	}
	c.pending = c.boot.settings != now.settings
}

// reconfigureRunning changes the record of a VM that runs, and reports whether the VM has to be powered off and on before the
// change takes effect. It refuses a caller whose contract version has no field for that.
func (s *Server) reconfigureRunning(ctx context.Context, vm truenas.VM, c *changes, honest bool) (restart bool, err error) {
	what := c.offline
	if what == "" {
		what = "an earlier change"
	}
	switch {
	case !honest || !c.recordable:
		return false, refusal.FailedPrecondition("%s can change only while VM %q is off: TrueNAS applies it at the next start. Power it off first", what, vmrecord.Name(vm))
	case c.none():
		return c.pending, nil
	case vm.Status.State == truenas.StateSuspended:
		return false, refusal.Faultf(refusal.ErrVMFailed, "VM %q is suspended: resume it or power it off before it is changed", vmrecord.Name(vm))
	case c.boot.pid == 0:
		return false, refusal.Aborted("VM %q is changing its state: its process is not known yet; retry", vmrecord.Name(vm))
	}
	if err := s.noteBoot(ctx, c.home, c.boot); err != nil {
		return false, err
	}
	after, err := s.reconfigure(ctx, vm, c)
	if err != nil {
		return false, err
	}
	if started, err := s.startedMeanwhile(ctx, after, c); started || err != nil {
		return true, err
	}
	return vmrecord.Active(after), nil
}

// startedMeanwhile reports whether a VM started during the change of its record. That run may have the previous settings, so
// startedMeanwhile records them.
func (s *Server) startedMeanwhile(ctx context.Context, after truenas.VM, c *changes) (bool, error) {
	pid := processOf(after)
	if !vmrecord.Active(after) || pid == c.boot.pid {
		return false, nil
	}
	return true, s.noteBoot(ctx, c.home, boot{pid, c.boot.settings})
}

// noteBoot records a run of a VM.
func (s *Server) noteBoot(ctx context.Context, dataset string, b boot) error {
	_, err := s.nas.Datasets.Update(ctx, dataset, truenas.DatasetUpdate{SetUserProperties: map[string]string{propBooted: b.String()}})
	return err
}
