package conformance

import (
	"encoding/json"
	"net"
	"slices"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// diskFormats are the disk formats that the manager adopts.
var diskFormats = []string{"qcow2", "vmdk", "raw", "vdi", "vhdx"}

// checkList finds a VM in ListVMs as it was requested; the manager adopts from there.
func checkList(c *checker) {
	req := c.plain(c.name("listed"))
	want := c.class()
	want.CPU, want.MemoryMiB = 2, 512
	req.ClassJson = text(want)
	req.DisksJson = text([]disk{{SizeGiB: 3, Type: "thin", Name: "data"}})
	id := c.create(req)
	for range 2 {
		vm := c.listed(req.GetName())
		if vm == nil {
			c.Fatal("it is not listed")
		}
		if vm.GetId() != id || int(vm.GetCpu()) != want.CPU || int(vm.GetMemoryMib()) != want.MemoryMiB || vm.GetPowerState() != stateOff {
			c.Errorf("it is listed as %v; want id %s and %d CPUs, %d MiB, Off", vm, id, want.CPU, want.MemoryMiB)
		}
		checkListedDevices(c, vm)
		if raw, err := json.Marshal(vm.GetProviderRaw()); err != nil {
			c.Errorf("provider_raw %s: %v", raw, err)
		}
	}
	c.power(id, providerv1.PowerOp_POWER_OP_ON)
	c.await(id, stateOn)
	if vm := c.listed(req.GetName()); vm.GetPowerState() != stateOn {
		c.Errorf("it runs and is listed as %q", vm.GetPowerState())
	}
}

func checkListedDevices(c *checker, vm *providerv1.VMInfo) {
	c.Helper()
	if len(vm.GetDisks()) != 2 {
		c.Errorf("it has the disks %v; want two", vm.GetDisks())
	}
	for _, d := range vm.GetDisks() {
		if d.GetPath() == "" || d.GetId() == "" || d.GetSizeGib() < 1 || !slices.Contains(diskFormats, d.GetFormat()) {
			c.Errorf("disk %v: want an id, a path, a size and a format of %v", d, diskFormats)
		}
	}
	if !slices.ContainsFunc(vm.GetDisks(), func(d *providerv1.DiskInfo) bool { return d.GetSizeGib() == 3 }) {
		c.Errorf("none of the disks %v has 3 GiB", vm.GetDisks())
	}
	if c.target.Network == "" {
		return
	}
	if len(vm.GetNetworks()) != 1 {
		c.Fatalf("it has the NICs %v; want one", vm.GetNetworks())
	}
	if _, err := net.ParseMAC(vm.GetNetworks()[0].GetMac()); err != nil {
		c.Errorf("its NIC: %v", err)
	}
}
