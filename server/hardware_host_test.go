package server_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// withHostDevices is a NAS with a GPU that the system needs, two equal ones that it does not need, and three USB devices.
func withHostDevices(c *sim.Config) {
	gpu := func(address, driver string, critical bool) sim.PCIDevice {
		return sim.PCIDevice{Address: address, Class: "0x030000", Type: "VGA compatible controller", Vendor: "NVIDIA Corporation", Product: "GP104 [GeForce GTX 1070]", Driver: driver, Critical: critical}
	}
	stick := func(name string, n int) sim.USBDevice {
		return sim.USBDevice{Name: name, Vendor: "Silicon Labs", VendorID: "0x10c4", Product: "CP210x", ProductID: "0xea60", Bus: 1, DeviceNumber: n}
	}
	c.PCI = []sim.PCIDevice{gpu("0000:00:02.0", "i915", true), gpu("0000:01:00.0", "nouveau", false), gpu("0000:02:00.0", "vfio-pci", false)}
	c.USB = []sim.USBDevice{stick("usb_1_2", 2), stick("usb_1_3", 3), {Name: "usb_2_1", Vendor: "Yubico", VendorID: "0x1050", Product: "Yubikey", ProductID: "0x0407", Bus: 2, DeviceNumber: 1}}
}

func onHostDevices(t *testing.T, release string) (providerv1.ProviderClient, *sim.Sim) {
	t.Helper()
	api, nas := truenastest.New(t, func(c *sim.Config) {
		c.Release = release
		withHostDevices(c)
	})
	client, _ := serve(t, api)
	addImage(t, nas)
	return client, nas
}

// hostDevicesOf returns the passed-through devices of a VM.
func hostDevicesOf(nas *sim.Sim, vm string) []string {
	var list []string
	for _, m := range nas.VMs() {
		for _, d := range m.Devices {
			if dtype := d.Attributes["dtype"]; m.Config["name"] == vm && (dtype == "PCI" || dtype == "USB") {
				list = append(list, strings.TrimSuffix(fmt.Sprint(d.Attributes["pptdev"], d.Attributes["device"]), "<nil>"))
			}
		}
	}
	for i := range list {
		list[i] = strings.TrimSpace(strings.ReplaceAll(list[i], "<nil>", ""))
	}
	return list
}

func vmWith(name string, give ...string) *providerv1.CreateRequest {
	req := withExtra(give...)
	req.Name, req.NetworksJson = name, ""
	return req
}

// TestHostDevices assigns devices by name and by kind. A device has one VM, and the refusal names it.
func TestHostDevices(t *testing.T) {
	t.Parallel()
	const p = "class_json.ExtraConfig.truenas.io/"
	for _, release := range allReleases {
		t.Run(release, func(t *testing.T) {
			client, nas := onHostDevices(t, release)
			for _, tt := range []struct {
				vm   string
				give []string
				want []string
			}{
				{"one", []string{"pci=any:gtx 1070", "usb=10c4:ea60"}, []string{"pci_0000_01_00_0", "usb_1_2"}},
				{"two", []string{"pci=any:NVIDIA", "usb=0x10C4:0xEA60, usb_2_1"}, []string{"pci_0000_02_00_0", "usb_1_3", "usb_2_1"}},
				{"three", []string{"pci=none", "usb=none"}, nil},
			} {
				for range 2 { // The second Create keeps the choice.
					if _, err := client.Create(t.Context(), vmWith(tt.vm, tt.give...)); err != nil {
						t.Fatalf("%s: %v", tt.vm, err)
					}
				}
				if got := hostDevicesOf(nas, tt.vm); !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%s has %q, want %q", tt.vm, got, tt.want)
				}
			}
			before := nas.State()
			for _, tt := range []struct {
				give       []string
				code, want string
			}{
				{[]string{"pci=pci_0000_01_00_0"}, "ResourceExhausted", p + `pci: "pci_0000_01_00_0" is not free: pci_0000_01_00_0 is used by VM one`},
				{[]string{"pci=any:GTX"}, "ResourceExhausted", p + `pci: "any:GTX" is not free: `},
				{[]string{"usb=1050:0407"}, "ResourceExhausted", "used by VM two"},
				{[]string{"pci=pci_0000_00_02_0"}, "FailedPrecondition", p + `pci: the NAS has no device "pci_0000_00_02_0" that can be passed to a VM`},
				{[]string{"pci=pci_0000_09_00_0"}, "FailedPrecondition", p + "pci: the NAS has no device"},
				{[]string{"usb=usb_9_9"}, "FailedPrecondition", p + "usb: the NAS has no device"},
				{[]string{"pci=0000:01:00.0"}, "InvalidArgument", p + "pci: "},
				{[]string{"usb=yubikey"}, "InvalidArgument", p + "usb: "},
			} {
				_, err := client.Create(t.Context(), vmWith("four", tt.give...))
				refusedWith(t, err, tt.code, tt.want)
			}
			if after := nas.State(); !reflect.DeepEqual(before, after) {
				t.Errorf("refused, and the NAS was changed:\n%s", changes(t, before, after))
			}
		})
	}
}

// Within a namespace the refusal names the VM that has the device, also if other candidates belong to other namespaces.
func TestHostDevicesWithinANamespace(t *testing.T) {
	t.Parallel()
	client, _ := onHostDevices(t, "25.10")
	create := func(namespace, name string) error {
		req := ownedBy("uid-"+namespace+name, namespace, name)
		req.ClassJson = vmWith(name, "pci=any:GTX 1070").ClassJson
		_, err := client.Create(t.Context(), req)
		return err
	}
	must(t, create("team-a", "one"))
	must(t, create("team-b", "two"))
	refusedWith(t, create("team-a", "three"), "ResourceExhausted", `"any:GTX 1070" is not free: pci_0000_01_00_0 is used by VM one`)
	refusedWith(t, create("team-b", "three"), "ResourceExhausted", `"any:GTX 1070" is not free: pci_0000_02_00_0 is used by VM two`)
	refusedWith(t, create("team-c", "three"), "ResourceExhausted", "is not free: another VM has it; the provider's log names the VM")
}

// A manager of line 0.4 shows messages to tenants, so only the log names the VM of another namespace that has a device.
func TestHostDevicesOfAnotherTenant(t *testing.T) {
	t.Parallel()
	client, _ := onHostDevices(t, "25.10")
	if _, err := client.Create(t.Context(), vmWith("secretive", "pci=pci_0000_01_00_0")); err != nil {
		t.Fatal(err)
	}
	req := ownedBy("uid-a", "team-a", "other")
	req.ClassJson = vmWith("other", "pci=pci_0000_01_00_0").ClassJson
	_, err := client.Create(t.Context(), req)
	refusedWith(t, err, "ResourceExhausted", "is not free: another VM has it")
	if strings.Contains(err.Error(), "secretive") {
		t.Errorf("%v names the VM of another tenant", err)
	}
}

// Reconfigure adds devices and removes them while the VM is off. A device of a user stays unless the class says otherwise.
func TestHostDevicesChange(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		client, nas := onHostDevices(t, release)
		resp, err := client.Create(t.Context(), good())
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			give []string
			want []string
		}{
			{[]string{"pci=pci_0000_01_00_0", "usb=usb_2_1"}, []string{"pci_0000_01_00_0", "usb_2_1"}},
			{nil, []string{"pci_0000_01_00_0", "usb_2_1"}},
			{[]string{"pci=pci_0000_02_00_0"}, []string{"usb_2_1", "pci_0000_02_00_0"}},
			{[]string{"pci=none", "usb=none"}, nil},
		} {
			if err := reconfigureExtra(t, client, resp.GetId(), tt.give...); err != nil {
				t.Fatalf("%s: %q: %v", release, tt.give, err)
			}
			got := hostDevicesOf(nas, "web_1")
			if len(got) != len(tt.want) || !sameMembers(got, tt.want) {
				t.Errorf("%s: %q: has %q, want %q", release, tt.give, got, tt.want)
			}
		}
	}
}

func sameMembers(a, b []string) bool {
	seen := map[string]bool{}
	for _, x := range a {
		seen[x] = true
	}
	for _, x := range b {
		if !seen[x] {
			return false
		}
	}
	return true
}

// A clone does not get the passed-through devices of its source.
func TestHostDevicesAreNotCloned(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		client, nas := onHostDevices(t, release)
		resp, err := client.Create(t.Context(), vmWith("one", "pci=pci_0000_01_00_0", "usb=usb_2_1"))
		if err != nil {
			t.Fatal(err)
		}
		req := &providerv1.CloneRequest{SourceVmId: resp.GetId(), TargetName: "copy", Linked: true}
		_, err = client.Clone(t.Context(), req)
		refusedWith(t, err, "FailedPrecondition", `source_vm_id: VM "one" has the PCI device pci_0000_01_00_0, which its clone cannot have too`)
		req.ClassJson = `{"extraConfig":{"truenas.io/pci":"any:GTX"}}`
		_, err = client.Clone(t.Context(), req)
		refusedWith(t, err, "FailedPrecondition", `has a USB device, which its clone cannot have too`)
		req.ClassJson = `{"extraConfig":{"truenas.io/pci":"any:GTX","truenas.io/usb":"none"}}`
		if _, err := client.Clone(t.Context(), req); err != nil {
			t.Fatalf("%s: %v", release, err)
		}
		if got := hostDevicesOf(nas, "copy"); !reflect.DeepEqual(got, []string{"pci_0000_02_00_0"}) {
			t.Errorf("%s: the clone has %q", release, got)
		}
	}
}

// The check of the configuration lists the devices for VMs, and the VMs that have them.
func TestPreflightListsHostDevices(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		api, nas := truenastest.New(t, func(c *sim.Config) {
			c.Release = release
			withHostDevices(c)
		})
		client, s := serve(t, api)
		addImage(t, nas)
		if _, err := client.Create(t.Context(), vmWith("one", "pci=pci_0000_01_00_0")); err != nil {
			t.Fatal(err)
		}
		want := "0 pci_0000_01_00_0 (GP104 [GeForce GTX 1070] by NVIDIA Corporation): used by VM one -> \n" +
			"0 pci_0000_02_00_0 (GP104 [GeForce GTX 1070] by NVIDIA Corporation): free -> \n" +
			"0 usb_1_2 (CP210x by Silicon Labs): free -> \n0 usb_1_3 (CP210x by Silicon Labs): free -> \n0 usb_2_1 (Yubikey by Yubico): free -> \n"
		if got := about(s.Preflight(t.Context()), "devices"); got != want {
			t.Errorf("%s: got\n%swant\n%s", release, got, want)
		}
	}
}

// Concurrent Creates get different devices, and a Create without a free device is refused.
func TestHostDevicesOfCreatesAtOnce(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onHostDevices(t, release)
			const vms = 3
			errs := make(chan error, vms)
			for i := range vms {
				go func() {
					_, err := client.Create(t.Context(), vmWith(fmt.Sprintf("gpu%d", i), "pci=any:GTX 1070"))
					errs <- err
				}()
			}
			refused := 0
			for range vms {
				if err := <-errs; err != nil {
					refusedWith(t, err, "ResourceExhausted", `"any:GTX 1070" is not free`)
					refused++
				}
			}
			held := map[string]int{}
			for i := range vms {
				for _, device := range hostDevicesOf(nas, fmt.Sprintf("gpu%d", i)) {
					held[device]++
				}
			}
			if want := map[string]int{"pci_0000_01_00_0": 1, "pci_0000_02_00_0": 1}; refused != 1 || !reflect.DeepEqual(held, want) {
				t.Errorf("%d are refused, and the devices are used by %v", refused, held)
			}
		})
	}
}
