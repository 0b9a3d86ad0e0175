package truenas_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

func TestManyCallersAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() {
				name := "m" + strings.Repeat("x", i)
				vm, err := c.VMs.Create(ctx, truenas.VMCreate{Name: name, MemoryMiB: 64})
				if err == nil && vm.Name != name {
					t.Errorf("%s got the reply to %s", name, vm.Name)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := len(must(c.VMs.List(ctx))(t)); n != 60 {
			t.Errorf("%d machines", n)
		}
	})
}

func TestCallsPerOperation(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		vm := must(c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64}))(t)
		ok(t, c.VMs.Start(ctx, vm.ID, false))
		nas.ResetCalls()
		ok(t, c.VMs.Stop(ctx, vm.ID, truenas.StopOptions{Force: true}, nil))
		ok(t, c.Files.Put(ctx, "/mnt/tank/f", 0o600, bytes.NewReader([]byte("x")), 1, nil))
		if got := nas.Calls(); !slices.Equal(got, []string{"vm.stop", "filesystem.put"}) {
			t.Errorf("a job costs one call, and an event reports its end: %v", got)
		}
	})
}

func TestSystem(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, _ *sim.Sim) {
		ctx := bounded(t)
		if pools := must(c.System.Pools(ctx))(t); len(pools) != 1 || pools[0].Name != "tank" || !pools[0].Healthy || pools[0].SizeBytes < 1<<39 {
			t.Errorf("pools: %+v", pools)
		}
		interfaces := must(c.System.Interfaces(ctx))(t)
		i := slices.IndexFunc(interfaces, func(i truenas.Interface) bool { return i.Name == "vlan20" })
		j := slices.IndexFunc(interfaces, func(i truenas.Interface) bool { return i.Name == "br0" })
		if i < 0 || interfaces[i].VLANTag != 20 || interfaces[i].VLANParent != "eno1" || j < 0 || !slices.Contains(interfaces[j].BridgeMembers, "eno1") {
			t.Errorf("interfaces: %+v", interfaces)
		}
		if info := must(c.System.Info(ctx))(t); info.MemoryBytes != 64<<30 || info.Cores == 0 || info.Version == "" {
			t.Errorf("info: %+v", info)
		}
		must(c.System.Version(ctx))(t)
		must(c.System.ARP(ctx))(t)
	})
}

func TestImagesToVolumes(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		ok(t, nas.AddDataset("tank/staging", nil))
		ok(t, nas.AddVolume("tank/v", 1<<30, nil))
		content := append([]byte("the first bytes"), make([]byte, 1<<20-15)...)
		ok(t, nas.WriteFile("/mnt/tank/staging/disk.raw", content))
		var id truenas.JobID
		var err error
		if c.Connect(ctx) == nil && c.Release().AtLeast(truenas.R25_10) {
			id, err = c.Devices.Convert(ctx, "/mnt/tank/staging/disk.raw", "/dev/zvol/tank/v")
		} else {
			if _, err := c.Devices.Convert(ctx, "a", "b"); !errors.Is(err, truenas.ErrUnsupported) {
				t.Errorf("Convert on 25.04.2: %v", err)
			}
			id, err = c.VMs.ImportDiskImage(ctx, "/mnt/tank/staging/disk.raw", "/dev/zvol/tank/v")
		}
		ok(t, err)
		must(c.Jobs.Wait(ctx, id, nil))(t)
		if done := must(c.Jobs.Get(ctx, id))(t); done.State != truenas.JobSuccess || string(done.Result) != "true" || done.TimeStarted == nil {
			t.Errorf("the job: %+v", done)
		}
		got := make([]byte, 15)
		must(nas.ReadVolume("tank/v", got, 0))(t)
		if string(got) != "the first bytes" {
			t.Errorf("the volume begins with %q", got)
		}
		if c.Release().AtLeast(truenas.R26) {
			if _, err := c.VMs.ImportDiskImage(ctx, "a", "b"); !errors.Is(err, truenas.ErrUnsupported) {
				t.Errorf("ImportDiskImage: %v", err)
			}
		}
	})
}
