package omni

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"virtrigaud-provider-truenas/truenas/sim"
)

// withGPU adds a GPU for pass-through to the NAS.
func withGPU(c *sim.Config) {
	c.PCI = []sim.PCIDevice{{Address: "0000:01:00.0", Class: "0x030000", Type: "VGA compatible controller", Vendor: "NVIDIA Corporation", Product: "GP104 [GeForce GTX 1070]", Driver: "nouveau"}}
}

// hasGPU reports whether a VM has the device.
func hasGPU(nas *sim.Sim, name string) bool {
	for _, vm := range nas.VMs() {
		for _, d := range vm.Devices {
			if vm.Name == name && d.Attributes["pptdev"] == "pci_0000_01_00_0" {
				return true
			}
		}
	}
	return false
}

const withDevice = class + "pci: [\"any:GTX 1070\"]\n"

// A second machine waits for a device until the first one is removed. The request's status names the holder.
func TestMachinesWaitForADevice(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onNAS(t, release, withGPU)
			w := newWorld(t, Backend{Name: "nas", Client: client})
			_, stop := w.start()
			w.request("one", withDevice)
			w.provisioned("one")
			w.request("two", withDevice)
			w.failed("two", `nas lacks resources for this machine: pci: "any:GTX 1070" is not free: pci_0000_01_00_0 is used by VM one. Free space, memory or the device there`)
			w.release("one")
			w.provisioned("two")
			if !hasGPU(nas, "two") {
				t.Error("the second machine has no GPU")
			}
			stop()
		})
	}
}

// A machine is placed on the NAS where the device is free.
func TestPlacementByFreeDevice(t *testing.T) {
	var backends []Backend
	var all []*sim.Sim
	for i := range 2 {
		client, nas := onNAS(t, "25.10", withGPU)
		backends, all = append(backends, Backend{Name: fmt.Sprint("nas", i), Client: client}), append(all, nas)
	}
	w := newWorld(t, backends...)
	_, stop := w.start()
	for i := range 2 {
		id := fmt.Sprint("m", i)
		w.requestIn(fmt.Sprint("set", i), id, withDevice) // In separate sets, so that both prefer the first NAS.
		w.provisioned(id)
	}
	stop()
	if a, b := hasGPU(all[0], "m0") || hasGPU(all[0], "m1"), hasGPU(all[1], "m0") || hasGPU(all[1], "m1"); !a || !b {
		t.Errorf("machines with the GPU: %v on the first NAS, %v on the second", a, b)
	}
}

// The status of a machine that does not join names its consoles, and never the password of its screen.
func TestConsolesOfUnjoinedMachine(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			core, logs := observer.New(zapcore.DebugLevel)
			client, nas := onNAS(t, release, nil)
			w := newWorld(t, Backend{Name: "nas", Client: client})
			w.cfg.JoinTimeout, w.cfg.Logger = 200*time.Millisecond, zap.New(core)
			_, stop := w.start()
			w.request("one", class+"display: spice\n")
			w.provisioned("one")
			const text = `check its console (serial console "1_one" on the NAS, screen http`
			w.health(text)
			status := w.failed("one", text)
			stop()
			passwords := 0
			for _, d := range nas.VMs()[0].Devices {
				if password, ok := d.Attributes["password"].(string); ok && password != "" {
					passwords++
					if strings.Contains(status.String(), password) || strings.Contains(fmt.Sprint(logs.All(), w.note("one"), w.patches("one")), password) {
						t.Error("the password is visible")
					}
				}
			}
			if passwords != 1 {
				t.Errorf("the VM has %d passwords", passwords)
			}
		})
	}
}
