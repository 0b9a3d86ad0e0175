package hardware

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// class is a class with these settings, given as name and value in turns.
func class(t *testing.T, pairs ...string) spec.Class {
	t.Helper()
	extra := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		extra[settings.Prefix+pairs[i]] = pairs[i+1]
	}
	v, err := settings.Parse(extra)
	if err != nil {
		t.Fatal(err)
	}
	return spec.Class{CPUs: 4, Hardware: v}
}

// screen is a device with a screen.
func screen(id int64, kind, bind, resolution, password string) truenas.Device {
	return truenas.Device{ID: id, Attributes: truenas.DeviceAttributes{DType: truenas.DeviceDisplay, Type: kind, Bind: bind, Resolution: resolution, Password: password}}
}

// TestCompare: each setting that a class gives is compared with the record and written into the update; others are left alone.
func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		name, value, have, want string
		set                     func(*truenas.VM)
		sent                    func(truenas.VMHardware) any
	}{
		{"cpu_mode", "host-model", "HOST-PASSTHROUGH", "HOST-MODEL", func(vm *truenas.VM) { vm.CPUMode = "HOST-PASSTHROUGH" }, func(h truenas.VMHardware) any { return h.CPUMode }},
		{"cpuset", "0-3", "none", "0-3", nil, func(h truenas.VMHardware) any { return h.CPUSet }},
		{"nodeset", "0", "1", "0", func(vm *truenas.VM) { vm.NodeSet = "1" }, func(h truenas.VMHardware) any { return h.NodeSet }},
		{"clock", "local", "UTC", "LOCAL", func(vm *truenas.VM) { vm.Time = "UTC" }, func(h truenas.VMHardware) any { return h.Time }},
		{"cpu_topology_extension", "true", "false", "true", nil, func(h truenas.VMHardware) any { return h.CPUTopology }},
		{"cpu_topology_extension", "false", "true", "false", func(vm *truenas.VM) { vm.CPUTopology = true }, func(h truenas.VMHardware) any { return h.CPUTopology }},
		{"hide_from_msr", "true", "false", "true", nil, func(h truenas.VMHardware) any { return h.HideFromMSR }},
		{"hyperv_enlightenments", "true", "false", "true", nil, func(h truenas.VMHardware) any { return h.HyperVEnlightenment }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var vm truenas.VM
			if tt.set != nil {
				tt.set(&vm)
			}
			var update truenas.VMHardware
			list := Compare(vm, class(t, tt.name, tt.value), &update)
			if tt.name == "cpu_mode" { // A mode other than custom has no model, as this VM.
				list = list[:1]
			}
			if want := []Difference{{spec.HardwareField(tt.name), tt.have, tt.want}}; !slices.Equal(list, want) {
				t.Errorf("got %+v, want %+v", list, want)
			}
			switch sent := tt.sent(update).(type) {
			case *string:
				if sent == nil || *sent != tt.want {
					t.Errorf("sent %v", sent)
				}
			case *bool:
				if sent == nil || *sent != (tt.want == "true") {
					t.Errorf("sent %v", sent)
				}
			}
			var none truenas.VMHardware
			if list := Compare(vm, class(t), &none); len(list) > 0 || !reflect.DeepEqual(none, truenas.VMHardware{}) {
				t.Errorf("without the setting: %+v, %+v", list, none)
			}
		})
	}
	pinned := class(t, "cpuset", "0-3", "pin_vcpus", "true")
	var update truenas.VMHardware
	if list := Compare(truenas.VM{CPUSet: "0-3"}, pinned, &update); len(list) != 1 || update.PinVCPUs == nil || !*update.PinVCPUs || update.CPUSet != nil {
		t.Errorf("got %+v, %+v", list, update)
	}
	if list := Compare(truenas.VM{CPUSet: "0-3", PinVCPUs: true}, pinned, &update); len(list) != 0 {
		t.Errorf("got %+v", list)
	}
}

// TestCompareModels: a custom CPU has a model, which goes with the mode.
func TestCompareModels(t *testing.T) {
	custom := class(t, "cpu_mode", "custom", "cpu_model", "EPYC")
	var update truenas.VMHardware
	if list := Compare(truenas.VM{CPUMode: "CUSTOM", CPUModel: "Nehalem"}, custom, &update); len(list) != 1 || update.CPUModel == nil || *update.CPUModel == nil || **update.CPUModel != "EPYC" {
		t.Errorf("another model: %+v", list)
	}
	update = truenas.VMHardware{}
	if list := Compare(truenas.VM{CPUMode: "CUSTOM", CPUModel: "EPYC"}, custom, &update); len(list) != 0 || update.CPUModel != nil {
		t.Errorf("the same model: %+v", list)
	}
	if list := Compare(truenas.VM{CPUMode: "CUSTOM", CPUModel: "EPYC"}, class(t, "cpu_mode", "host-model"), &update); len(list) != 2 || update.CPUModel == nil || *update.CPUModel != nil {
		t.Errorf("no model: %+v, %+v", list, update)
	}
}

// TestArrangements: without a topology in the class the number of CPUs counts, with one each factor does.
func TestArrangements(t *testing.T) {
	vm := truenas.VM{VCPUs: 1, Cores: 4, Threads: 1}
	for _, tt := range []struct {
		vm    truenas.VM
		class spec.Class
		want  bool
	}{
		{vm, class(t), false}, {truenas.VM{VCPUs: 2, Cores: 2, Threads: 1}, class(t), false}, {truenas.VM{VCPUs: 1, Cores: 2, Threads: 1}, class(t), true},
		{vm, class(t, "cpu_sockets", "2"), true}, {truenas.VM{VCPUs: 2, Cores: 2, Threads: 1}, class(t, "cpu_sockets", "2"), false},
	} {
		if got := Rearranged(tt.vm, tt.class); got != tt.want {
			t.Errorf("%+v: got %t", Arrangement(tt.vm), got)
		}
	}
	var update truenas.VMUpdate
	Arrange(&update, class(t, "cpu_sockets", "2"))
	if *update.VCPUs != 2 || *update.Cores != 2 || *update.Threads != 1 {
		t.Errorf("got %d, %d, %d", *update.VCPUs, *update.Cores, *update.Threads)
	}
	q35 := class(t, "machine_type", "pc-q35-8.2")
	for machine, refused := range map[string]bool{"pc-q35-8.2": false, "pc-i440fx": true, "": true} {
		if err := OtherMachine(truenas.VM{MachineType: machine}, q35); (err != nil) != refused {
			t.Errorf("%q: got %v", machine, err)
		}
	}
	if err := OtherMachine(truenas.VM{MachineType: "pc-q35-8.2"}, class(t)); err != nil {
		t.Error(err)
	}
}

// TestOf lists what differs from a plain VM, and what its clone inherits.
func TestOf(t *testing.T) {
	plain := truenas.VM{CPUMode: truenas.CPUHostPassthrough, Time: truenas.ClockUTC, VCPUs: 1, Cores: 4, Threads: 1}
	if got := Of(plain); len(got) > 0 {
		t.Errorf("a plain VM: %q", got)
	}
	vm := truenas.VM{CPUMode: "CUSTOM", CPUModel: "EPYC", CPUSet: "0-3", NodeSet: "0", Time: "LOCAL", MachineType: "q35", CPUTopology: true, PinVCPUs: true, HideFromMSR: true, HyperVEnlightenment: true, VCPUs: 2, Cores: 2, Threads: 1}
	want := "clock=LOCAL cpu_mode=CUSTOM cpu_model=EPYC cpu_topology_extension=true cpuset=0-3 hide_from_msr=true hyperv_enlightenments=true machine_type=q35 nodeset=0 pin_vcpus=true topology=2 × 2 × 1"
	if got := strings.Join(Of(vm), " "); got != want {
		t.Errorf("got %s", got)
	}
	threads := plain
	threads.Threads = 2
	if got := strings.Join(Of(threads), " "); got != "topology=1 × 4 × 2" {
		t.Errorf("got %s", got)
	}
	h := Inherit(vm)
	if *h.CPUMode != "CUSTOM" || **h.CPUModel != "EPYC" || *h.CPUSet != "0-3" || *h.NodeSet != "0" || *h.Time != "LOCAL" || !*h.CPUTopology || !*h.PinVCPUs || !*h.HideFromMSR || !*h.HyperVEnlightenment {
		t.Errorf("inherits %+v", h)
	}
	if h := Inherit(plain); h.CPUModel != nil || h.CPUSet != nil || h.NodeSet != nil {
		t.Errorf("a plain VM's clone inherits %+v", h)
	}
}

// TestScreens: a screen is added, changed where the class differs, left as it is, or removed.
func TestScreens(t *testing.T) {
	spice := screen(7, "SPICE", "0.0.0.0", "1024x768", "secret")
	for _, tt := range []struct {
		name   string
		vm     truenas.VM
		class  spec.Class
		change *truenas.DeviceAttributes // of the VM's screen; the password "new" represents a new one
		planed int
		drop   int
	}{
		{"no setting", truenas.VM{Devices: []truenas.Device{spice}}, class(t), nil, 0, 0},
		{"none", truenas.VM{Devices: []truenas.Device{spice, {ID: 8}}}, class(t, "display", "none"), nil, 0, 1},
		{"a new one", truenas.VM{}, class(t, "display", "spice"), nil, 1, 0},
		{"the same", truenas.VM{Devices: []truenas.Device{spice}}, class(t, "display", "spice"), nil, 1, 0},
		{"the same by all settings", truenas.VM{Devices: []truenas.Device{spice}}, class(t, "display", "spice", "display_bind", "0.0.0.0", "display_resolution", "1024x768"), nil, 1, 0},
		{"another address", truenas.VM{Devices: []truenas.Device{spice}}, class(t, "display", "spice", "display_bind", "127.0.0.1"),
			&truenas.DeviceAttributes{DType: truenas.DeviceDisplay, Type: "SPICE", Bind: "127.0.0.1", Resolution: "1024x768", Password: "secret"}, 1, 0},
		{"another resolution", truenas.VM{Devices: []truenas.Device{spice}}, class(t, "display", "spice", "display_resolution", "1280x1024"),
			&truenas.DeviceAttributes{DType: truenas.DeviceDisplay, Type: "SPICE", Bind: "0.0.0.0", Resolution: "1280x1024", Password: "secret"}, 1, 0},
		{"a password that the key may not read", truenas.VM{Devices: []truenas.Device{screen(7, "SPICE", "0.0.0.0", "1024x768", masked)}}, class(t, "display", "spice", "display_resolution", "1280x1024"),
			&truenas.DeviceAttributes{DType: truenas.DeviceDisplay, Type: "SPICE", Bind: "0.0.0.0", Resolution: "1280x1024", Password: "new"}, 1, 0},
		{"no password", truenas.VM{Devices: []truenas.Device{screen(7, "SPICE", "0.0.0.0", "1024x768", "")}}, class(t, "display", "spice", "display_resolution", "1280x1024"),
			&truenas.DeviceAttributes{DType: truenas.DeviceDisplay, Type: "SPICE", Bind: "0.0.0.0", Resolution: "1280x1024", Password: "new"}, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list, drop, err := displayFor(tt.vm, tt.class.Hardware)
			if err != nil || len(list) != tt.planed || len(drop) != tt.drop {
				t.Fatalf("got %+v, %+v, %v", list, drop, err)
			}
			if len(list) == 0 {
				return
			}
			d := list[0]
			have, exists := d.In(tt.vm)
			if exists != (len(tt.vm.Devices) > 0) || exists && have.ID != 7 {
				t.Errorf("the VM has %+v, %t", have, exists)
			}
			if (len(d.Attributes.Password) == passwordSPICE) == exists {
				t.Errorf("the planned screen has a password of %d characters", len(d.Attributes.Password))
			}
			if d.Change != nil && tt.change != nil && tt.change.Password == "new" && len(d.Change.Password) == passwordSPICE {
				tt.change.Password = d.Change.Password
			}
			if !reflect.DeepEqual(d.Change, tt.change) {
				t.Errorf("changed to %+v, want %+v", d.Change, tt.change)
			}
		})
	}
	for name, c := range map[string]spec.Class{
		"display": class(t, "display_bind", "0.0.0.0"), "display_bind": class(t, "display", "vnc"),
	} {
		if _, _, err := displayFor(truenas.VM{}, c.Hardware); err == nil || !strings.HasPrefix(err.Error(), spec.HardwareField(name)+": ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, _, err := displayFor(truenas.VM{}, class(t, "display_resolution", "1024x768").Hardware); err == nil {
		t.Error("a resolution without a screen is accepted")
	}
	list, _, err := displayFor(truenas.VM{}, class(t, "display", "vnc", "display_bind", "0.0.0.0").Hardware)
	if err != nil || len(list[0].Attributes.Password) != passwordVNC || *list[0].Attributes.Web || list[0].Attributes.Bind != "0.0.0.0" {
		t.Errorf("a VNC screen: %+v, %v", list, err)
	}
}

// TestConsoles: the web page of a screen is at the web interface of the NAS, and other screens where they can be reached.
func TestConsoles(t *testing.T) {
	for endpoint, want := range map[string]string{
		"wss://nas.example/api": "https://nas.example/vm/display/7/spice_auto.html?path=vm%2Fdisplay%2F7%2F&autoconnect=1",
		"ws://nas:81":           "http://nas:81/vm/display/7/spice_auto.html?path=vm%2Fdisplay%2F7%2F&autoconnect=1",
	} {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if got := webConsole(u, 7); got != want {
			t.Errorf("got %s", got)
		}
	}
	for bind, want := range map[string]string{"127.0.0.1": "", "::1": "", "0.0.0.0": "nas", "::": "nas", "192.0.2.1": "192.0.2.1", "": "", "eth0": ""} {
		if got := reachable(bind, "nas"); got != want {
			t.Errorf("%q: got %q", bind, got)
		}
	}
}

// hostOf is a NAS with two equal cards, of which another VM has one, a device that the system needs, and a USB device.
func hostOf(mark, other spec.Mark) hostDevices {
	return hostDevices{
		pci:  []truenas.PCIDevice{{Name: "pci_a", Vendor: "Acme", Product: "Card"}, {Name: "pci_b", Vendor: "Acme", Product: "Card"}, {Name: "pci_system", Vendor: "Acme", Product: "Bridge", Critical: true}},
		usb:  []truenas.USBDevice{{Name: "usb_1", VendorID: "0x10c4", ProductID: "0xea60"}},
		mark: mark,
		vms: []truenas.VM{{ID: 2, UUID: other.ID(), Name: "other", Description: other.Describe(), Devices: []truenas.Device{
			{Attributes: truenas.DeviceAttributes{DType: truenas.DevicePCI, PPTDev: "pci_a"}}, {Attributes: truenas.DeviceAttributes{DType: truenas.DeviceUSB, USBDevice: "usb_1"}},
		}}},
	}
}

// TestAssign: an entry gets the device that the VM has, or else a free one. A refusal names another VM only to who knows that VM.
func TestAssign(t *testing.T) {
	mine := spec.Mark{Provider: "p", Namespace: "team", Name: "web-1"}
	mate, stranger := spec.Mark{Provider: "p", Namespace: "team", Name: "web-2"}, spec.Mark{Provider: "p", Namespace: "rivals", Name: "web-2"}
	has := func(name string) truenas.VM {
		return truenas.VM{ID: 1, Devices: []truenas.Device{{Attributes: truenas.DeviceAttributes{DType: truenas.DevicePCI, PPTDev: name}}}}
	}
	for _, tt := range []struct {
		name, setting, entry string
		vm                   truenas.VM
		other                spec.Mark
		taken                []string
		want, says, public   string
	}{
		{"a free one by name", "pci", "pci_b", truenas.VM{ID: 1}, mate, nil, "pci_b", "", ""},
		{"any free one", "pci", "any:acme card", truenas.VM{ID: 1}, mate, nil, "pci_b", "", ""},
		{"any, of which the VM has one", "pci", "any: ACME", has("pci_b"), mate, nil, "pci_b", "", ""},
		{"any, and the free one is taken", "pci", "any:card", truenas.VM{ID: 1}, mate, []string{"pci_b"}, "", "pci_a is used by VM web-2", ""},
		{"another VM's", "pci", "pci_a", truenas.VM{ID: 1}, mate, nil, "", `"pci_a" is not free: pci_a is used by VM web-2`, ""},
		{"a stranger's", "pci", "pci_a", truenas.VM{ID: 1}, stranger, nil, "", "used by VM web-2", "another VM has it"},
		{"given twice", "pci", "pci_b", truenas.VM{ID: 1}, mate, []string{"pci_b"}, "", `"pci_b" is given more often than the NAS has matching devices`, ""},
		{"one that the system needs", "pci", "pci_system", truenas.VM{ID: 1}, mate, nil, "", `no device "pci_system"`, ""},
		{"one that is not there", "pci", "any:nvidia", truenas.VM{ID: 1}, mate, nil, "", `no device "any:nvidia"`, ""},
		{"a USB device by its numbers", "usb", "10C4:EA60", truenas.VM{ID: 2, Devices: []truenas.Device{{Attributes: truenas.DeviceAttributes{DType: truenas.DeviceUSB, USBDevice: "usb_1"}}}}, mate, nil, "usb_1", "", ""},
		{"a USB device of another VM", "usb", "usb_1", truenas.VM{ID: 1}, mate, nil, "", "usb_1 is used by VM web-2", ""},
		{"another USB device of the vendor", "usb", "10c4:0001", truenas.VM{ID: 1}, mate, nil, "", "no device", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hostOf(mine, tt.other)
			dtype, choose := truenas.DevicePCI, h.choosePCI
			if tt.setting == "usb" {
				dtype, choose = truenas.DeviceUSB, h.chooseUSB
			}
			got, err := h.assign(tt.vm, tt.setting, dtype, tt.entry, tt.taken, choose)
			if got != tt.want || (err == nil) != (tt.says == "") {
				t.Fatalf("got %q, %v", got, err)
			}
			if err == nil {
				return
			}
			if !strings.HasPrefix(err.Error(), spec.HardwareField(tt.setting)+": ") || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
			if differs, public := refusal.Public(err); differs != (tt.public != "") || !strings.Contains(public.Error(), tt.public) || differs && strings.Contains(public.Error(), "web-2") {
				t.Errorf("tenants see %v", public)
			}
		})
	}
	if got := hostOf(mine, mate).holderName(truenas.DevicePCI, "pci_a"); got != "web-2" {
		t.Errorf("pci_a is held by %q", got)
	}
	if got := hostOf(mine, mate).holderName(truenas.DevicePCI, "pci_b"); got != "" {
		t.Errorf("pci_b is held by %q", got)
	}
}

// TestDevicesOfTheNAS: devices that a class does not mention stay, others go, and a clone cannot have those of its source.
func TestDevicesOfTheNAS(t *testing.T) {
	pci := truenas.Device{ID: 1, Attributes: truenas.DeviceAttributes{DType: truenas.DevicePCI, PPTDev: "pci_a"}}
	usb := truenas.Device{ID: 2, Attributes: truenas.DeviceAttributes{DType: truenas.DeviceUSB, USBDevice: "usb_1"}}
	vm := truenas.VM{Devices: []truenas.Device{pci, usb}}
	for _, tt := range []struct {
		dtype          string
		entries, taken []string
		want           []truenas.Device
	}{
		{truenas.DevicePCI, nil, nil, nil}, {truenas.DevicePCI, []string{"none"}, nil, []truenas.Device{pci}},
		{truenas.DevicePCI, []string{"pci_a"}, []string{"pci_a"}, nil}, {truenas.DevicePCI, []string{"pci_b"}, []string{"pci_b"}, []truenas.Device{pci}},
		{truenas.DeviceUSB, []string{"none"}, nil, []truenas.Device{usb}},
	} {
		if got := surplusHost(vm, tt.dtype, tt.entries, tt.taken); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: got %+v", tt.entries, got)
		}
	}
	for _, tt := range []struct {
		devices []truenas.Device
		class   spec.Class
		says    string
	}{
		{nil, class(t), ""}, {[]truenas.Device{pci}, class(t), "PCI device pci_a"}, {[]truenas.Device{usb}, class(t), "USB device"},
		{[]truenas.Device{pci}, class(t, "pci", "none"), ""}, {[]truenas.Device{usb}, class(t, "usb", "none"), ""}, {[]truenas.Device{pci}, class(t, "usb", "none"), "PCI device"}, {[]truenas.Device{usb}, class(t, "pci", "none"), "USB device"},
	} {
		if err := RefuseHostDevices(truenas.VM{Devices: tt.devices}, tt.class.Hardware); (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("got %v, want %q", err, tt.says)
		}
	}
	for _, d := range []Device{hostDevice("pci", truenas.DevicePCI, "pci_a", 3), hostDevice("usb", truenas.DeviceUSB, "usb_1", 3)} {
		if have, ok := d.In(vm); !ok || have.Attributes.DType != d.Attributes.DType || d.Order != orderHost+3 {
			t.Errorf("%+v: the VM has %+v, %t", d.Attributes, have, ok)
		}
	}
}
