package truenas

import (
	"context"
	"strings"
)

var (
	vmStart      = method[none]{"vm.start", change}
	vmStop       = method[none]{"vm.stop", job}
	vmPowerOff   = method[none]{"vm.poweroff", change}
	vmResume     = method[none]{"vm.resume", change}
	vmRestart    = method[none]{"vm.restart", job}
	vmImport     = method[none]{"vm.import_disk_image", job}
	vmInterfaces = method[[]GuestInterface]{"vm.get_guest_network_interfaces", read}
)

// Start starts a VM. Without overcommit, TrueNAS returns [ErrNoMemory] if the memory does not fit.
// A running VM is [ErrActive].
func (s VMs) Start(ctx context.Context, id int64, overcommit bool) error {
	_, err := vmStart.call(ctx, s.c, id, map[string]bool{"overcommit": overcommit})
	return err
}

// StopOptions select the way to stop. Force powers the VM off at once; ForceAfterTimeout does so if
// the guest still runs after the VM's shutdown timeout.
type StopOptions struct {
	Force             bool `json:"force"`
	ForceAfterTimeout bool `json:"force_after_timeout"`
}

// Stop requests a shutdown from the guest and waits for TrueNAS's job. The job succeeds even if the guest still runs after
// the timeout: check the state afterwards.
func (s VMs) Stop(ctx context.Context, id int64, o StopOptions, progress func(Progress)) error {
	_, err := vmStop.wait(ctx, s.c, progress, id, o)
	return err
}

// StopStart starts a stop and does not wait for it.
func (s VMs) StopStart(ctx context.Context, id int64, o StopOptions) (JobID, error) {
	return vmStop.start(ctx, s.c, id, o)
}

// PowerOff powers the VM off at once.
func (s VMs) PowerOff(ctx context.Context, id int64) error {
	_, err := vmPowerOff.call(ctx, s.c, id)
	return err
}

// Resume continues a suspended VM.
func (s VMs) Resume(ctx context.Context, id int64) error {
	_, err := vmResume.call(ctx, s.c, id)
	return err
}

// Restart stops a VM and starts it with overcommit.
func (s VMs) Restart(ctx context.Context, id int64) error {
	_, err := vmRestart.wait(ctx, s.c, nil, id)
	return err
}

// RestartStart starts a restart and does not wait for it.
func (s VMs) RestartStart(ctx context.Context, id int64) (JobID, error) {
	return vmRestart.start(ctx, s.c, id)
}

// ImportDiskImage starts to write an image file onto an existing volume, given as a dataset or as
// /dev/zvol/<dataset>. It does not check that the volume is large enough. Only 25.04.2 and 25.10
// have it; 25.10 and later have [Devices.Convert].
func (s VMs) ImportDiskImage(ctx context.Context, image, zvol string) (JobID, error) {
	if err := s.c.need(ctx, vmImport.name, R25_04_2, R25_10); err != nil {
		return 0, err
	}
	if path, ok := strings.CutPrefix(zvol, "/dev/zvol/"); ok {
		zvol = strings.ReplaceAll(path, "+", " ") // the method takes the dataset
	}
	return vmImport.start(ctx, s.c, map[string]string{"diskimg": image, "zvol": zvol})
}

// A GuestInterface is a network interface as reported by the guest agent.
type GuestInterface struct {
	Name      string         `json:"name"`
	MAC       string         `json:"hardware_address"`
	Addresses []GuestAddress `json:"ip_addresses"`
}

// A GuestAddress is an address of a guest's interface.
type GuestAddress struct {
	IP     string `json:"ip_address"`
	Prefix int    `json:"prefix"`
	Type   string `json:"ip_address_type"` // IPV4 or IPV6
}

// GuestInterfaces queries the guest agent; 27 and later.
func (s VMs) GuestInterfaces(ctx context.Context, id int64) ([]GuestInterface, error) {
	if err := s.c.need(ctx, vmInterfaces.name, R27, Release{}); err != nil {
		return nil, err
	}
	return vmInterfaces.call(ctx, s.c, id)
}
