package omni

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/truenas/sim"
)

// settingCase is a value of one setting in a machine class, with the other settings that it needs, and the expected result on the
// NAS.
type settingCase struct {
	value string // as YAML
	needs string
	read  func(nas *sim.Sim, vm sim.VMState, disk string) any
	want  any
}

func inRecord(key string) func(*sim.Sim, sim.VMState, string) any {
	return func(_ *sim.Sim, vm sim.VMState, _ string) any { return vm.Config[key] }
}

// ofDevice returns a function that reads an attribute of the first device of a type.
func ofDevice(dtype, key string) func(*sim.Sim, sim.VMState, string) any {
	return func(_ *sim.Sim, vm sim.VMState, _ string) any {
		for _, d := range vm.Devices {
			if d.Attributes["dtype"] == dtype {
				return d.Attributes[key]
			}
		}
		return "no device"
	}
}

// ofDisk returns a function that reads an attribute of the device of one disk.
func ofDisk(key string) func(*sim.Sim, sim.VMState, string) any {
	return func(_ *sim.Sim, vm sim.VMState, disk string) any {
		for _, d := range vm.Devices {
			if d.Attributes["dtype"] == "DISK" && path.Base(fmt.Sprint(d.Attributes["path"])) == disk {
				return d.Attributes[key]
			}
		}
		return "no disk"
	}
}

// ofVolume returns a function that reads a property of the volume of one disk.
func ofVolume(read func(sim.DatasetState) any) func(*sim.Sim, sim.VMState, string) any {
	return func(nas *sim.Sim, vm sim.VMState, disk string) any {
		for _, d := range nas.State().Datasets {
			if d.Name == "tank/virtrigaud/vms/"+vm.Name+"/"+disk {
				return read(d)
			}
		}
		return "no volume"
	}
}

func property(name string) func(sim.DatasetState) any {
	return func(d sim.DatasetState) any { return d.Properties[name] }
}

// settingCases has a case for every setting of a machine class in the table.
var settingCases = map[string]settingCase{
	"cpu_mode":                  {"host-model", "", inRecord("cpu_mode"), "HOST-MODEL"},
	"cpu_model":                 {"EPYC", "cpu_mode: custom", inRecord("cpu_model"), "EPYC"},
	"cpu_sockets":               {"2", "", inRecord("vcpus"), 2},
	"cpu_cores":                 {"1", "", inRecord("cores"), 1},
	"cpu_threads":               {"2", "", inRecord("threads"), 2},
	"cpu_topology_extension":    {"true", "", inRecord("enable_cpu_topology_extension"), true},
	"cpuset":                    {"0-3", "", inRecord("cpuset"), "0-3"},
	"pin_vcpus":                 {"true", "cpuset: 1,5", inRecord("pin_vcpus"), true},
	"nodeset":                   {`"0"`, "", inRecord("nodeset"), "0"},
	"hide_from_msr":             {"true", "", inRecord("hide_from_msr"), true},
	"clock":                     {"local", "", inRecord("time"), "LOCAL"},
	"machine_type":              {"pc-q35-8.2", "", inRecord("machine_type"), "pc-q35-8.2"},
	"shutdown_timeout":          {"300", "", inRecord("shutdown_timeout"), 300},
	"disk_bus":                  {"ahci", "", ofDisk("type"), "AHCI"},
	"disk_io":                   {"native", "", ofDisk("iotype"), "NATIVE"},
	"disk_sector_size":          {`"4096"`, "", ofDisk("logical_sectorsize"), 4096},
	"disk_physical_sector_size": {`"4096"`, `disk_sector_size: "512"`, ofDisk("physical_sectorsize"), 4096},
	"disk_block_size":           {"64k", "", ofVolume(func(d sim.DatasetState) any { return d.BlockSize }), 65536},
	"disk_compression":          {"zstd", "", ofVolume(property("compression")), "zstd"},
	"disk_sync":                 {"always", "", ofVolume(property("sync")), "always"},
	"disk_deduplication":        {"verify", "", ofVolume(property("dedup")), "verify"},
	"display":                   {"spice", "", ofDevice("DISPLAY", "type"), "SPICE"},
	"display_bind":              {"0.0.0.0", "display: spice", ofDevice("DISPLAY", "bind"), "0.0.0.0"},
	"display_resolution":        {"1920x1080", "display: spice", ofDevice("DISPLAY", "resolution"), "1920x1080"},
	"pci":                       {"[pci_0000_01_00_0]", "", ofDevice("PCI", "pptdev"), "pci_0000_01_00_0"},
	"usb":                       {"[usb_1_2]", "", ofDevice("USB", "device"), "usb_1_2"},
}

// class returns a machine class with the setting, for all disks or only for the disk data, and the name of the setting there.
func (c settingCase) class(s settings.Setting, ofOne bool) (data, name string) {
	if !s.OfDisk() {
		return fmt.Sprintf("%s%s\n%s: %s\n", class, c.needs, s.Name, c.value), s.Name
	}
	if !ofOne {
		return fmt.Sprintf("%sadditional_disks: [{size: 1, name: data}]\n%s\n%s: %s\n", class, c.needs, s.Name, c.value), s.Name
	}
	needs := strings.TrimPrefix(c.needs, "disk_")
	if needs != "" {
		needs += ", "
	}
	return fmt.Sprintf("%sadditional_disks: [{size: 1, name: data, %s%s: %s}]\n", class, needs, s.Short(), c.value), s.Short()
}

// classSettings returns the settings of a machine class in the table, and checks that each has a case.
func classSettings(t *testing.T) []settings.Setting {
	t.Helper()
	var list []settings.Setting
	for _, s := range settings.Table() {
		if _, ok := settingCases[s.Name]; ok == s.ClassOnly {
			t.Errorf("%s: has a case: %v; is only for VirtRigaud's classes: %v", s.Name, ok, s.ClassOnly)
		}
		if !s.ClassOnly {
			list = append(list, s)
		}
	}
	if len(list) != len(settingCases) {
		t.Errorf("%d cases for %d settings", len(settingCases), len(list))
	}
	return list
}

// requestID returns the id of the request for a setting.
func requestID(s settings.Setting, ofOne bool) string {
	return strings.ReplaceAll(fmt.Sprintf("%s-%v", s.Name, ofOne), "_", "-")
}

func withDevices(c *sim.Config) {
	withGPU(c)
	c.USB = []sim.USBDevice{{Name: "usb_1_2", Vendor: "Silicon Labs", VendorID: "0x10c4", Product: "CP210x", ProductID: "0xea60", Bus: 1, DeviceNumber: 2}}
	c.MemoryBytes = 512 << 30
}

// Each setting of a machine class reaches the VM or the volume on each release, both when it is set for all disks and when it is
// set for one disk, which leaves the others unchanged.
func TestEverySettingReachesTheVM(t *testing.T) {
	list := classSettings(t)
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onNAS(t, release, withDevices)
			w := newWorld(t, Backend{Name: "nas", Client: client})
			_, stop := w.start()
			defer stop()
			ways := func(do func(s settings.Setting, ofOne bool)) {
				for _, s := range list {
					do(s, false)
					if s.OfDisk() {
						do(s, true)
					}
				}
			}
			ways(func(s settings.Setting, ofOne bool) {
				data, _ := settingCases[s.Name].class(s, ofOne)
				w.request(requestID(s, ofOne), data)
			})
			ways(func(s settings.Setting, ofOne bool) {
				c, id := settingCases[s.Name], requestID(s, ofOne)
				vm := vmOf(t, nas, w.provisioned(id).GetUuid())
				if got := c.read(nas, vm, "data"); fmt.Sprint(got) != fmt.Sprint(c.want) {
					t.Errorf("%s: it is %v, want %v", id, got, c.want)
				}
				if got := c.read(nas, vm, settings.RootDisk); ofOne && fmt.Sprint(got) == fmt.Sprint(c.want) {
					t.Errorf("%s: the root disk has %v too", id, got)
				}
			})
		})
	}
}

// incompleteProvider is a provider that omits one setting from its list.
type incompleteProvider struct {
	providerv1.ProviderClient
	unknown string
}

func (p *incompleteProvider) GetCapabilities(ctx context.Context, req *providerv1.GetCapabilitiesRequest, opts ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
	resp, err := p.ProviderClient.GetCapabilities(ctx, req, opts...)
	for _, opt := range opts {
		if header, ok := opt.(grpc.HeaderCallOption); ok {
			known := strings.Split(strings.Join(header.HeaderAddr.Get(headerSettings), ","), ",")
			header.HeaderAddr.Set(headerSettings, slices.DeleteFunc(known, func(name string) bool { return name == p.unknown })...)
		}
	}
	return resp, err
}

// A provider that does not list a setting does not get a machine with it, for each setting and each of its places in the class.
func TestUnlistedSettingsAreRefused(t *testing.T) {
	client, nas := onNAS(t, "25.10", withDevices)
	var backends []Backend
	list := classSettings(t)
	for _, s := range list {
		backends = append(backends, Backend{Name: s.Name, Client: &incompleteProvider{client, s.Name}})
	}
	w := newWorld(t, backends...)
	_, stop := w.start()
	defer stop()
	for _, s := range list {
		for _, ofOne := range []bool{false, true} {
			data, _ := settingCases[s.Name].class(s, ofOne)
			w.request(requestID(s, ofOne), data+"provider: "+s.Name+"\n")
		}
	}
	for _, s := range list {
		for _, ofOne := range []bool{false, true} {
			w.failed(requestID(s, ofOne), s.Name+" does not know the setting "+s.Name+"; update it, or leave the setting out")
		}
	}
	if made := machines(nas); len(made) > 0 {
		t.Errorf("made %v", made)
	}
}

// A refusal of a setting that a release lacks uses the terms of the machine class.
func TestSettingThatAReleaseLacks(t *testing.T) {
	client, nas := onNAS(t, "25.04.2", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	_, stop := w.start()
	defer stop()
	w.request("one", class+"display: vnc\ndisplay_bind: 0.0.0.0\n")
	w.failed("one", `nas cannot create this machine: display: "vnc" needs TrueNAS 25.10 or later; the NAS has 25.04.2. Change the machine class`)
	if made := machines(nas); len(made) > 0 {
		t.Errorf("made %v", made)
	}
}
