package server

import (
	"context"
	"encoding/json"
	"errors"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	"github.com/projectbeskar/virtrigaud/sdk/provider/capabilities"

	"virtrigaud-provider-truenas/server/bootorder"
	"virtrigaud-provider-truenas/server/destroy"
	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// desiredJSON is a complete VM as the manager wants it. The manager calls Reconfigure only for a change of CPUs or memory.
type desiredJSON struct {
	Name      string
	Class     json.RawMessage
	Image     json.RawMessage // the source of the root disk, which is made once
	Networks  json.RawMessage
	Disks     json.RawMessage
	UserData  json.RawMessage // read by the guest at its first start only
	MetaData  json.RawMessage // likewise
	Placement json.RawMessage
	Tags      []string

	TargetHostID string        // set for a provider with several hosts
	Owner        *identityJSON // managers of line 0.4 and later always send it
}

// Reconfigure changes a VM to the desired state, or refuses an unsupported change by its field: it never returns success for a
// change that it ignored. TrueNAS has no hotplug: for a running VM, a change of its record takes effect at the next start. A
// manager of line 0.4 reads restart_required then, and repeats the call until the VM was powered off and on; an older manager would
// regard the change as done, so it is refused. Tags and reserved space change at any time. Disks grow and are added; nothing
// shrinks and nothing is removed. Devices that a user attached to the VM stay as they are.
func (s *Server) Reconfigure(ctx context.Context, req *providerv1.ReconfigureRequest) (*providerv1.TaskResponse, error) {
	if lone, only, err := parseLoneSettings(req.GetDesiredJson()); only {
		if err != nil {
			return nil, err
		}
		return s.applyLoneSettings(ctx, req.GetId(), lone)
	}
	want, err := parseDesired(req.GetDesiredJson())
	if err != nil {
		return nil, err
	}
	if want.ReadsRestartRequired {
		s.newerManager.Store(true)
	}
	vm, unlock, err := s.own(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	chosen, err := s.lockHostDevices(ctx, want.Class.Hardware)
	if err != nil {
		return nil, err
	}
	defer chosen()
	c, err := s.compare(ctx, vm, want)
	if err != nil {
		return nil, err
	}
	var restart bool
	switch {
	case vmrecord.Active(vm) && (c.offline != "" || c.pending):
		restart, err = s.reconfigureRunning(ctx, vm, c, want.ReadsRestartRequired)
	case !c.none():
		restart, err = s.reconfigureStopped(ctx, vm, c, want.ReadsRestartRequired)
	}
	if err == nil && want.Tags != nil && c.tags == nil {
		err = s.dropTagsLock(ctx, vm)
	}
	if err == nil {
		err = s.setBootSource(ctx, vm, bootChoice{always: want.Class.Hardware.Boot})
	}
	if err != nil {
		return nil, err
	}
	return capabilities.HonestReconfigureResponse("", restart), nil
}

// reconfigureStopped changes a stopped VM, or makes the changes that apply to any VM.
func (s *Server) reconfigureStopped(ctx context.Context, vm truenas.VM, c *changes, honest bool) (restart bool, err error) {
	if c.offline != "" {
		if err := s.checkRepairable(ctx, vm); err != nil {
			return false, err
		}
	}
	after, err := s.reconfigure(ctx, vm, c)
	if err != nil || c.offline == "" || !c.recordable {
		return false, err
	}
	started, err := s.startedMeanwhile(ctx, after, c)
	if err == nil && started && !honest {
		err = refusal.Aborted("VM %q was started while it was changed: power it off and on for the change to take effect", vmrecord.Name(vm))
	}
	return started, err
}

// reconfigure makes the changes and reads the VM back.
func (s *Server) reconfigure(ctx context.Context, vm truenas.VM, c *changes) (truenas.VM, error) {
	before := s.inventory.Mark()
	if err := s.makePlaces(ctx, c); err != nil {
		return vm, err
	}
	if err := s.apply(ctx, vm, c); err != nil {
		return vm, err
	}
	root := s.layout.RootVolume(vmrecord.Disks(vm))
	vm, err := s.nas.VMs.Get(ctx, vm.ID)
	if err != nil {
		return vm, err
	}
	if vm, err = putInOrder(ctx, s.nas, vm, root); err != nil {
		return vm, err
	}
	s.inventory.Put(vm, before)
	for _, d := range c.add {
		if !slices.Contains(vmrecord.Disks(vm), d.volume) {
			return vm, refusal.Aborted("disk %s was not attached to VM %q; the next Reconfigure does it", path.Base(d.volume), vmrecord.Name(vm))
		}
	}
	return vm, nil
}

// makePlaces makes the datasets for additional disks on other pools, after the VM's own dataset has recorded these pools.
func (s *Server) makePlaces(ctx context.Context, c *changes) error {
	b := &builder{nas: s.nas, plan: &plan{mark: c.mark, dataset: c.home, recorded: c.recorded, places: c.places}}
	for _, p := range c.places {
		if err := s.claims.EnsureRoot(ctx, p.dataset); err != nil {
			return err
		}
	}
	if err := b.record(ctx, b.plan.origins()); err != nil {
		return err
	}
	return b.ensurePlaces(ctx)
}

// parseDesired reads desired_json. It omits the stricter checks of addresses that Create makes, so that a VM that was made under
// looser rules can be resized.
func parseDesired(text string) (spec.VM, error) {
	const field = "desired_json"
	var j desiredJSON
	if text == "" {
		return spec.VM{}, refusal.InvalidArgument(field, "must be given")
	}
	if err := spec.DecodeJSON(field, text, &j); err != nil {
		return spec.VM{}, err
	}
	if j.TargetHostID != "" {
		return spec.VM{}, refusal.InvalidArgument(field+".TargetHostID", "%q: %s", j.TargetHostID, spec.NoHosts)
	}
	var want spec.VM
	var err error
	if want.Class, err = spec.ParseClass(string(j.Class)); err != nil {
		return want, err
	}
	if want.Networks, err = spec.ParseNetworks(field+".Networks", string(j.Networks)); err != nil {
		return want, err
	}
	if want.Disks, err = spec.ParseDisks(field+".Disks", string(j.Disks)); err != nil {
		return want, err
	}
	if want.Pool, err = spec.ParsePlacement(field+".Placement", string(j.Placement)); err != nil {
		return want, err
	}
	want.Tags, want.ReadsRestartRequired = j.Tags, j.Owner != nil
	return want, spec.CheckTags(want.Tags)
}

// apply makes the changes in parallel; a retry may repeat each of them.
func (s *Server) apply(ctx context.Context, vm truenas.VM, c *changes) error {
	var g errgroup.Group
	if c.record {
		g.Go(func() error { return s.updateRecord(ctx, vm, c) })
	}
	for device, attributes := range c.devices {
		g.Go(func() error {
			_, err := s.nas.Devices.Update(ctx, device, truenas.DeviceUpdate{Attributes: &attributes})
			return err
		})
	}
	for volume, update := range c.volumes {
		g.Go(func() error {
			_, err := s.nas.Datasets.Update(ctx, volume, update)
			return err
		})
	}
	b := &builder{nas: s.nas, plan: &plan{existing: &vm}, vm: vm}
	for _, d := range c.add {
		g.Go(func() error { return b.ensureDisk(ctx, d) })
	}
	for _, d := range c.attach {
		g.Go(func() error { return b.ensureDevice(ctx, d) })
	}
	for _, d := range c.drop {
		g.Go(func() error { return destroy.Device(ctx, s.nas, d.ID) })
	}
	return g.Wait()
}

// updateRecord changes the record of a VM. The description also holds the boot source, which another replica may change at the same
// time: updateRecord reads and writes it under that replica's lock, because otherwise a once could be lost, or be booted twice. It
// takes the lock for other changes of a VM with a boot source too, because TrueNAS writes back the complete record.
func (s *Server) updateRecord(ctx context.Context, vm truenas.VM, c *changes) (err error) {
	update := c.update
	if c.tags != nil || s.choosesBoot(vm) {
		release, locked := s.lockBoot(ctx, vm)
		if locked != nil {
			return locked
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	if c.tags != nil {
		now, err := s.inventory.Read(ctx, vm.UUID)
		if err != nil {
			return err
		}
		description, err := s.describedAs(now, func(m *spec.Mark) { m.Tags = *c.tags })
		if err != nil {
			return err
		}
		update.Description = &description
	}
	_, err = s.nas.VMs.Update(ctx, vm.ID, update)
	return err
}

// dropTagsLock removes the lock of a process that wrote these tags and ended before it removed the lock. Only the lock itself shows
// that this happened.
func (s *Server) dropTagsLock(ctx context.Context, vm truenas.VM) error {
	if !s.marks.Ours(vm) {
		return nil
	}
	if locked, err := s.leases.Locked(ctx, s.home(vm)); err != nil || !locked {
		return err
	}
	release, err := s.lockBoot(ctx, vm)
	if err != nil {
		return err
	}
	return release()
}

// loneSettings are the settings that a Reconfigure may request without the rest of a VM.
type loneSettings struct {
	boot  bootChoice
	media mediaChoice
}

var loneNames = []string{"boot", "boot_once", "media", "media_checksum"}

// parseLoneSettings reads desired_json, and returns false when it requests a complete VM. A class with ExtraConfig alone does not
// change the size of the VM, so a caller that does not know the size cannot change it by accident.
func parseLoneSettings(text string) (loneSettings, bool, error) {
	const field = "desired_json"
	var parts struct{ Class map[string]json.RawMessage }
	if json.Unmarshal([]byte(text), &parts) != nil || len(parts.Class) != 1 || parts.Class["ExtraConfig"] == nil {
		return loneSettings{}, false, nil
	}
	var j desiredJSON
	if err := spec.DecodeJSON(field, text, &j); err != nil {
		return loneSettings{}, true, err
	}
	if j.Image != nil || j.Networks != nil || j.Disks != nil || j.Placement != nil || j.Tags != nil {
		return loneSettings{}, false, nil // parseDesired refuses the class, because it has no CPUs.
	}
	var extra map[string]string
	if err := json.Unmarshal(parts.Class["ExtraConfig"], &extra); err != nil {
		return loneSettings{}, true, refusal.InvalidArgument(spec.ExtraField[:len(spec.ExtraField)-1], "must be a map of texts")
	}
	for key := range extra {
		if name, ours := strings.CutPrefix(key, settings.Prefix); !ours || !slices.Contains(loneNames, name) {
			return loneSettings{}, true, refusal.InvalidArgument(spec.ExtraField+key, "needs a whole class; a class of ExtraConfig alone can hold %s%s", settings.Prefix, strings.Join(loneNames, ", "+settings.Prefix))
		}
	}
	values, err := settings.Parse(extra)
	if err != nil {
		return loneSettings{}, true, spec.HardwareError(err)
	}
	want := loneSettings{bootChoice{values.Boot, values.BootOnce}, mediaChoice{values.Media, values.MediaChecksum}}
	return want, true, want.check()
}

// check refuses settings that contradict each other.
func (want loneSettings) check() error {
	ejects := want.media.iso == settings.NoMedia
	switch {
	case ejects && (want.boot.always == bootorder.CDROM || want.boot.once == bootorder.CDROM):
		return refusal.InvalidArgument(spec.HardwareField("media"), "%s: a VM cannot boot a CD-ROM that the same request ejects", settings.NoMedia)
	case want.media.checksum != "" && (want.media.iso == "" || ejects):
		return refusal.InvalidArgument(spec.HardwareField("media_checksum"), "needs %smedia", settings.Prefix)
	}
	return nil
}

// applyLoneSettings changes the contents of a VM's CD-ROM drive, and its boot source. The guest of a running VM sees both at its
// next start. While an ISO is in preparation, the reply is its task, and the boot source stays unchanged.
func (s *Server) applyLoneSettings(ctx context.Context, id string, want loneSettings) (*providerv1.TaskResponse, error) {
	vm, unlock, err := s.own(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	resp, err := s.setMedia(ctx, vm, want.media)
	if err != nil || resp.GetTask() != nil {
		return resp, err
	}
	return resp, s.setBootSource(ctx, vm, want.boot)
}
