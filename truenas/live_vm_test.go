package truenas_test

import (
	"errors"
	"maps"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

const machineUUID = "5d0c7d3a-1c7b-4c2f-9a52-0f6a4b7e9d11"

func TestMachineLife(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		ok(t, nas.AddVolume("tank/root", 1<<30, nil))
		mode := truenas.CPUHostModel
		vm := must(c.VMs.Create(ctx, truenas.VMCreate{
			Name: "web_1", Description: "a web server", UUID: machineUUID, VCPUs: 1, Cores: 2, Threads: 1, MemoryMiB: 1024,
			Bootloader: truenas.BootUEFI, ShutdownTimeout: 5, VMHardware: truenas.VMHardware{CPUMode: &mode},
		}))(t)
		if vm.Name != "web_1" || vm.UUID != machineUUID || vm.Cores != 2 || vm.MemoryMiB != 1024 || vm.Autostart || vm.EnsureDisplayDevice ||
			vm.CPUMode != truenas.CPUHostModel || vm.Status.State != truenas.StateStopped || vm.ShutdownTimeout != 5 {
			t.Errorf("created: %+v", vm)
		}
		must(c.Devices.Create(ctx, truenas.DeviceCreate{VM: vm.ID, Order: 1, Attributes: truenas.Disk("/dev/zvol/tank/root")}))(t)
		must(c.Devices.Create(ctx, truenas.DeviceCreate{VM: vm.ID, Order: 2, Attributes: truenas.NIC("br0", "02:00:00:00:00:01", "VIRTIO")}))(t)
		must(c.Devices.Create(ctx, truenas.DeviceCreate{VM: vm.ID, Attributes: truenas.Display("127.0.0.1", "secret")}))(t)

		ok(t, c.VMs.Start(ctx, vm.ID, false))
		vm = must(c.VMs.Get(ctx, vm.ID))(t)
		if vm.Status.State != truenas.StateRunning || vm.Status.PID == nil || len(vm.Devices) != 3 {
			t.Errorf("running: %+v", vm)
		}
		if d := vm.Devices[0]; d.Order != 1 || d.VM != vm.ID || d.Attributes.DType != truenas.DeviceDisk || d.Attributes.Path != "/dev/zvol/tank/root" || d.Attributes.Type != "VIRTIO" {
			t.Errorf("the disk: %+v", d)
		}
		if err := c.VMs.Start(ctx, vm.ID, false); !errors.Is(err, truenas.ErrActive) {
			t.Errorf("starting twice: %v", err)
		}
		ok(t, c.VMs.Restart(ctx, vm.ID))
		ok(t, c.VMs.Stop(ctx, vm.ID, truenas.StopOptions{}, nil))
		if err := c.VMs.PowerOff(ctx, vm.ID); !errors.Is(err, truenas.ErrInactive) {
			t.Errorf("power off of a VM that is off: %v", err)
		}
		memory := int64(2048)
		if vm = must(c.VMs.Update(ctx, vm.ID, truenas.VMUpdate{MemoryMiB: &memory}))(t); vm.MemoryMiB != memory || vm.Cores != 2 {
			t.Errorf("updated: %+v", vm)
		}
		ok(t, c.VMs.Delete(ctx, vm.ID, truenas.DeleteOptions{}))
		if _, err := c.VMs.Get(ctx, vm.ID); !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("Get of a deleted VM: %v", err)
		}
		if err := c.VMs.Delete(ctx, vm.ID, truenas.DeleteOptions{}); !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("deletion of a deleted VM: %v", err)
		}
	})
}

func TestFindingMachines(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, _ *sim.Sim) {
		ctx := bounded(t)
		must(c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64, UUID: machineUUID}))(t)
		// Up to 25.10 the record exists when the duplicate UUID is refused.
		if _, err := c.VMs.Create(ctx, truenas.VMCreate{Name: "b", MemoryMiB: 64, UUID: machineUUID}); err != nil && !errors.Is(err, truenas.ErrExists) {
			t.Errorf("duplicate UUID: %v", err)
		}
		if vm := must(c.VMs.ByName(ctx, "b"))(t); vm.Name != "b" {
			t.Errorf("by name: %+v", vm)
		}
		if _, err := c.VMs.ByName(ctx, "c"); !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("missing name: %v", err)
		}
		if found := must(c.VMs.ByUUID(ctx, machineUUID))(t); len(found) != 2 {
			t.Errorf("by UUID: %+v", found)
		}
		if found := must(c.VMs.List(ctx, truenas.AnyOf(truenas.Where("name", "a"), truenas.Cond("name", "^", "x"))))(t); len(found) != 1 || found[0].Name != "a" {
			t.Errorf("by either: %+v", found)
		}
		if _, err := c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64}); !errors.Is(err, truenas.ErrExists) {
			t.Errorf("duplicate name: %v", err)
		}
		var e *truenas.Error
		if _, err := c.VMs.Create(ctx, truenas.VMCreate{Name: "c-d", MemoryMiB: 1}); !errors.Is(err, truenas.ErrInvalid) || !errors.As(err, &e) || len(e.Fields) == 0 {
			t.Errorf("invalid name and too little memory: %v", err)
		}
		if n := must(c.VMs.AvailableMemory(ctx))(t); n <= 1<<30 {
			t.Errorf("%d bytes of memory", n)
		}
	})
}

func TestDevices(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		ok(t, nas.AddVolume("tank/a", 1<<30, nil))
		vm := must(c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64}))(t)
		disk := truenas.DeviceCreate{VM: vm.ID, Attributes: truenas.Disk("/dev/zvol/tank/a")}
		d := must(c.Devices.Create(ctx, disk))(t)
		if _, err := c.Devices.Create(ctx, disk); !errors.Is(err, truenas.ErrExists) {
			t.Errorf("duplicate disk: %v", err)
		}
		attributes := d.Attributes
		attributes.IOType = "NATIVE"
		order := 7
		d = must(c.Devices.Update(ctx, d.ID, truenas.DeviceUpdate{Order: &order, Attributes: &attributes}))(t)
		if d.Order != 7 || d.Attributes.IOType != "NATIVE" || d.Attributes.Path != "/dev/zvol/tank/a" {
			t.Errorf("updated: %+v", d)
		}
		if got := must(c.Devices.List(ctx, truenas.Where("vm", vm.ID)))(t); len(got) != 1 || got[0].ID != d.ID {
			t.Errorf("listed: %+v", got)
		}
		ok(t, c.VMs.Start(ctx, vm.ID, false))
		if err := c.Devices.Delete(ctx, d.ID, truenas.DeviceDelete{}); !errors.Is(err, truenas.ErrActive) {
			t.Errorf("removal of a disk from a running VM: %v", err)
		}
		ok(t, c.VMs.PowerOff(ctx, vm.ID))
		ok(t, c.Devices.Delete(ctx, d.ID, truenas.DeviceDelete{Zvol: true}))
		if _, err := c.Datasets.Get(ctx, "tank/a"); !errors.Is(err, truenas.ErrNotFound) {
			t.Errorf("the volume was deleted with its disk: %v", err)
		}
		must(c.Devices.DiskChoices(ctx))(t)
	})
}

func TestAttachChoices(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, _ *sim.Sim) {
		choices := must(c.Devices.NICAttachChoices(bounded(t)))(t)
		kinds := map[string]string{}
		for _, choice := range choices {
			kinds[choice.Name] = choice.Kind
		}
		bridge, other := "", ""
		if c.Release().AtLeast(truenas.R26) {
			bridge, other = "BRIDGE", "MACVLAN"
		}
		if kind, found := kinds["br0"]; !found || kind != bridge {
			t.Errorf("br0 is %q in %v", kind, choices)
		}
		if kind, found := kinds["eno1"]; found && kind != other {
			t.Errorf("eno1 is %q in %v", kind, choices)
		}
	})
}

func TestGuestIgnoresShutdown(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		nas.SetGuest("a", sim.Guest{IgnoresPowerButton: true})
		vm := must(c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64, ShutdownTimeout: 300}))(t)
		ok(t, c.VMs.Start(ctx, vm.ID, false))
		id := must(c.VMs.StopStart(ctx, vm.ID, truenas.StopOptions{}))(t)
		ok(t, c.Jobs.Abort(ctx, id))
		if c.Release().AtLeast(truenas.R26) { // The abort has no effect, and a second vm.stop would wait for the first one.
			ok(t, c.VMs.PowerOff(ctx, vm.ID))
			if job, err := c.Jobs.Wait(ctx, id, nil); err != nil {
				t.Errorf("wait for the shutdown after the power was cut: %+v, %v", job, err)
			}
		} else {
			if _, err := c.Jobs.Wait(ctx, id, nil); !errors.Is(err, truenas.ErrAborted) {
				t.Errorf("wait for an aborted job: %v", err)
			}
			ok(t, c.VMs.Stop(ctx, vm.ID, truenas.StopOptions{Force: true}, nil))
		}
		if vm = must(c.VMs.Get(ctx, vm.ID))(t); vm.Status.State != truenas.StateStopped {
			t.Errorf("forced stop: %+v", vm.Status)
		}
	})
}

func TestMemoryRunsOut(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, _ *sim.Sim) {
		ctx := bounded(t)
		vm := must(c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 1 << 20}))(t)
		if err := c.VMs.Start(ctx, vm.ID, false); !errors.Is(err, truenas.ErrNoMemory) {
			t.Errorf("got %v", err)
		}
	})
}

func TestGuestInterfaces(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		nas.SetGuest("a", sim.Guest{Agent: true, Addresses: []string{"192.0.2.10/24"}})
		vm := must(c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64}))(t)
		must(c.Devices.Create(ctx, truenas.DeviceCreate{VM: vm.ID, Attributes: truenas.NIC("br0", "02:00:00:00:00:01", "VIRTIO")}))(t)
		ok(t, c.VMs.Start(ctx, vm.ID, false))
		found, err := c.VMs.GuestInterfaces(ctx, vm.ID)
		if !c.Release().AtLeast(truenas.R27) {
			if !errors.Is(err, truenas.ErrUnsupported) {
				t.Errorf("before 27: %v", err)
			}
			return
		}
		ok(t, err)
		for _, i := range found {
			for _, a := range i.Addresses {
				if a.IP == "192.0.2.10" && a.Prefix == 24 && i.MAC == "02:00:00:00:00:01" {
					return
				}
			}
		}
		t.Errorf("got %+v", found)
	})
}

func TestMachineEvents(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		events := make(chan truenas.Event, 100)
		defer c.Subscribe("vm.query", func(e truenas.Event) { events <- e })()
		want := func(kind truenas.EventKind, id int64) {
			t.Helper()
			for {
				select {
				case e := <-events:
					if e.Kind == kind && e.ID == id {
						return
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("no event of kind %d for %d", kind, id)
				}
			}
		}
		want(truenas.EventReset, 0)
		vm := must(c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64}))(t)
		want(truenas.EventAdded, vm.ID)
		ok(t, c.VMs.Start(ctx, vm.ID, false))
		want(truenas.EventChanged, vm.ID)
		nas.CutConnections()
		want(truenas.EventLost, 0)
		want(truenas.EventReset, 0)
		nas.PowerOffGuest("a")
		want(truenas.EventChanged, vm.ID)
		ok(t, c.VMs.Delete(ctx, vm.ID, truenas.DeleteOptions{}))
		want(truenas.EventRemoved, vm.ID)
	})
}

func TestPCIChoices(t *testing.T) {
	gpu := sim.PCIDevice{Address: "0000:01:00.0", Class: "0x030000", Vendor: "NVIDIA Corporation", Product: "AD104"}
	disks := sim.PCIDevice{Address: "0000:02:00.0", Class: "0x010700", Vendor: "Broadcom", Product: "SAS3008", Critical: true}
	onEach(t, func(t *testing.T, c *truenas.Client, _ *sim.Sim) {
		critical := map[string]bool{}
		for _, d := range must(c.Devices.PCIChoices(bounded(t)))(t) {
			critical[d.Name] = d.Critical
		}
		if want := map[string]bool{"pci_0000_01_00_0": false, "pci_0000_02_00_0": true}; !maps.Equal(critical, want) {
			t.Errorf("got %v, want %v", critical, want)
		}
	}, func(c *sim.Config) { c.PCI = []sim.PCIDevice{gpu, disks} })
}
