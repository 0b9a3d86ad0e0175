package omni

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"strings"
	"testing"

	"google.golang.org/grpc"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/truenas/sim"
)

func TestHardwareMistakes(t *testing.T) {
	for _, tt := range []struct{ name, data, says string }{
		{"an invalid choice", "cpu_mode: fast\n", `cpu_mode is "fast"; allowed are host-passthrough`},
		{"a number beyond its limit", "cpu_sockets: 300\n", "cpu_sockets is 300; allowed are 1 to 255"},
		{"a text where a switch is meant", "pin_vcpus: maybe\n", "pin_vcpus must be true or false"},
		{"an invalid set", "cpuset: 3-0\n", "cpuset: \"3-0\": 3-0 is not a range"},
		{"inconsistent CPUs", "cpu_threads: 3\n", "cpu_threads: the VM has 2 CPUs"},
		{"a model without its mode", "cpu_model: EPYC\n", "cpu_model: needs cpu_mode custom"},
		{"a misspelt name", "cpu_modell: EPYC\n", "cpu_modell is not a setting; did you mean cpu_model?"},
		{"a bus of a disk that is named like the root disk", "additional_disks: [{size: 5, name: root, bus: ahci}]\n", `additional_disks[0].name: "root" is the name of the disk that Talos is installed on; a disk with bus needs another one`},
		{"a setting for other systems than Talos", "os: windows\n", "os is not a setting"},
	} {
		_, err := parseClass(fromYAML(class + tt.data))
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), settings.Prefix) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
		}
	}
}

// Hardware settings of a machine class reach the NAS.
func TestHardwareReachesTheNAS(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.request("one", class+"cpu_mode: custom\ncpu_model: EPYC\ncpu_sockets: 2\npin_vcpus: true\ncpuset: 0-1\nshutdown_timeout: 30\n")
		w.complete(nas, "one")
		stop()
		vm := nas.VMs()[0].Config
		for key, want := range map[string]any{"cpu_mode": "CUSTOM", "cpu_model": "EPYC", "vcpus": 2, "cores": 1, "pin_vcpus": true, "cpuset": "0-1", "shutdown_timeout": 30} {
			if fmt.Sprint(vm[key]) != fmt.Sprint(want) {
				t.Errorf("%s is %v, want %v", key, vm[key], want)
			}
		}
	})
}

// The first step refuses hardware that the NAS does not have, in the terms of the machine class.
func TestMissingHardware(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.request("one", class+"cpu_mode: custom\ncpu_model: Z80\n")
		w.failed("one", `cpu_model: "Z80"; the NAS offers EPYC`)
		stop()
		if fetched := w.factory.Fetched(); len(fetched) > 0 || len(nas.VMs()) > 0 {
			t.Errorf("fetched %v, made %d VMs", fetched, len(nas.VMs()))
		}
	})
}

// olderProvider is a provider that does not list hardware settings.
type olderProvider struct{ providerv1.ProviderClient }

func (p *olderProvider) GetCapabilities(ctx context.Context, req *providerv1.GetCapabilitiesRequest, _ ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
	return p.ProviderClient.GetCapabilities(ctx, req)
}

// The adapter sends a setting only to a provider that lists it, because another one would ignore it, and places the machine
// there.
func TestPlacementBySupportedSettings(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "older", Client: &olderProvider{client}})
	_, stop := w.start()
	w.request("one", class+"hide_from_msr: true\n")
	w.failed("one", "older does not know the setting hide_from_msr")
	stop()
	if len(nas.VMs()) > 0 {
		t.Error("a VM was made")
	}

	older, _ := onNAS(t, "25.10", nil)
	w = newWorld(t, Backend{Name: "older", Client: &olderProvider{older}}, Backend{Name: "nas", Client: client})
	_, stop = w.start()
	w.request("one", class+"hide_from_msr: true\n")
	w.complete(nas, "one")
	stop()
	if hidden := nas.VMs()[0].Config["hide_from_msr"]; hidden != true {
		t.Errorf("hide_from_msr is %v", hidden)
	}
}

// An encrypted machine is refused if its disks would not be encrypted.
func TestEncryptedMachineIsRefused(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.request("one", class+"encrypted: true\n")
		w.failed("one", "encrypted: dataset tank is not encrypted")
		stop()
		if len(nas.VMs()) > 0 {
			t.Error("a VM was made")
		}
	})
}

// A machine class has every setting of the table that applies to Talos, under its plain name, and disks have theirs in their
// entries. Refusals of invalid values contain that name.
func TestEveryHardwareSetting(t *testing.T) {
	needs := map[string]string{"cpu_model": "cpu_mode: custom\n", "cpu_mode": "cpu_model: EPYC\n", "pin_vcpus": "cpuset: 0-1\n", "disk_physical_sector_size": "disk_sector_size: \"512\"\n"}
	texts := map[string]string{"cpu_model": "EPYC", "cpu_mode": "custom", "cpuset": "0-1", "nodeset": "0", "machine_type": "pc-q35-8.2", "display_bind": "0.0.0.0", "pci": "pci_0000_01_00_0", "usb": "usb_1_2"}
	for _, s := range settings.Table() {
		value, bad := texts[s.Name], "[no, such, value]"
		switch s.Kind {
		case settings.Choice:
			value = cmp.Or(value, s.Allowed[0])
		case settings.Number:
			value, bad = fmt.Sprint(s.Min), fmt.Sprint(s.Max+1)
		case settings.Switch:
			value = "true"
		case settings.List:
			bad = "[\"?\"]"
		}
		given := func(value string) (Class, error) {
			return parseClass(fromYAML(class + needs[s.Name] + s.Name + ": " + value + "\n"))
		}
		written := value
		switch s.Kind {
		case settings.List:
			written = "[" + value + "]"
		case settings.Choice, settings.Text:
			written = fmt.Sprintf("%q", value)
		}
		c, err := given(written)
		if s.ClassOnly {
			if err == nil || !strings.Contains(err.Error(), s.Name+" is not a setting") {
				t.Errorf("%s: got %v", s.Name, err)
			}
			continue
		}
		if err != nil || c.Hardware[s.Key()] != value {
			t.Errorf("%s: %q became %q, %v", s.Name, value, c.Hardware[s.Key()], err)
		}
		if _, err := given(bad); err == nil || !strings.Contains(err.Error(), s.Name) || strings.Contains(err.Error(), settings.Prefix) {
			t.Errorf("%s: %s: got %v", s.Name, bad, err)
		}
		if !s.OfDisk() {
			continue
		}
		c, err = parseClass(fromYAML(class + needs[s.Name] + "additional_disks: [{size: 5, name: data, " + s.Short() + ": " + written + "}]\n"))
		if err != nil || c.Hardware[s.Key()+".data"] != value {
			t.Errorf("%s of a disk: %q, %v", s.Short(), c.Hardware[s.Key()+".data"], err)
		}
	}
}

// The pool of an additional disk goes only to a provider with that extension, and the NAS's errors about it are in the terms of
// the class.
func TestPoolOfAnAdditionalDisk(t *testing.T) {
	twoPools := func(c *sim.Config) {
		c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "rust", SizeBytes: 4 << 40}}
	}
	const onRust = class + "additional_disks: [{size: 6, name: data}, {size: 7, name: bulk, pool: rust}]\n"
	older, _ := onNAS(t, "25.10", twoPools)
	w := newWorld(t, Backend{Name: "older", Client: &olderProvider{older}})
	_, stop := w.start()
	w.request("one", onRust)
	w.failed("one", "older does not know the setting pool of additional_disks; update it, or leave the setting out")
	w.release("one")
	stop()

	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := onNAS(t, release, twoPools)
			w := newWorld(t, Backend{Name: "nas", Client: client})
			w.disks = 3
			_, stop := w.start()
			w.request("wrong", strings.Replace(onRust, "rust", "nope", 1))
			w.failed("wrong", `additional_disks[1].pool: the NAS has no pool "nope"`)
			w.release("wrong")
			w.request("one", onRust)
			w.complete(nas, "one")
			if got := volumesOn(nas, "rust"); len(got) != 1 || path.Base(got[0]) != "bulk" {
				t.Errorf("on the pool rust are %v", got)
			}
			w.release("one")
			stop()
			if got := volumesOn(nas, "rust"); len(got) > 0 {
				t.Errorf("left on the pool rust: %v", got)
			}
		})
	}
}

// volumesOn returns the volumes on a pool.
func volumesOn(nas *sim.Sim, pool string) []string {
	var found []string
	for _, d := range nas.State().Datasets {
		if d.Volume && strings.HasPrefix(d.Name, pool+"/") {
			found = append(found, d.Name)
		}
	}
	return found
}
