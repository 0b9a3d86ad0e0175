package server_test

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/settings"
	"virtrigaud-provider-truenas/truenas/sim"
)

// extraConfig returns an ExtraConfig with settings of this provider, given as "name=value", and a key of another hypervisor.
func extraConfig(list ...string) string {
	text := `{"vmware.com/x":"y"`
	for _, setting := range list {
		name, value, _ := strings.Cut(setting, "=")
		text += fmt.Sprintf(",%q:%q", settings.Prefix+name, value)
	}
	return text + "}"
}

// withExtra returns good() with settings of this provider.
func withExtra(list ...string) *providerv1.CreateRequest {
	req := good()
	req.ClassJson = strings.TrimSuffix(req.ClassJson, "}") + `,"ExtraConfig":` + extraConfig(list...) + "}"
	return req
}

// reconfigureExtra makes a Reconfigure of the VM of good() with settings of this provider.
func reconfigureExtra(t *testing.T, client providerv1.ProviderClient, id string, list ...string) error {
	t.Helper()
	return reconfigured(t, client, id, asManaged(`"ExtraConfig":null`, `"ExtraConfig":`+extraConfig(list...)))
}

// settingChanges are the requests that give settings to the VM of good().
var settingChanges = map[string]func(t *testing.T, client providerv1.ProviderClient, id string, list ...string) error{
	"Reconfigure": reconfigureExtra,
	"Create": func(t *testing.T, client providerv1.ProviderClient, _ string, list ...string) error {
		_, err := client.Create(t.Context(), withExtra(list...))
		return err
	},
}

// checkSettings creates a VM with settings and calls check. A second Create and a Reconfigure with the same class must change
// nothing.
func checkSettings(t *testing.T, release string, give []string, check func(*sim.Sim)) {
	t.Helper()
	client, nas := onRelease(t, release)
	addImage(t, nas)
	resp, err := client.Create(t.Context(), withExtra(give...))
	if err != nil {
		t.Fatalf("%s: %v", release, err)
	}
	check(nas)
	before := nas.State()
	if _, err := client.Create(t.Context(), withExtra(give...)); err != nil {
		t.Errorf("%s: again: %v", release, err)
	}
	if err := reconfigureExtra(t, client, resp.GetId(), give...); err != nil {
		t.Errorf("%s: the same class: %v", release, err)
	}
	if after := nas.State(); !reflect.DeepEqual(before, after) {
		t.Errorf("%s: the NAS was changed:\n%s", release, changes(t, before, after))
	}
}

// refusesSettings expects Create of a VM with settings, and Reconfigure of one without them if it is allowed to change, to be
// refused as invalid by a message that contains want. Nothing may change.
func refusesSettings(t *testing.T, release string, give []string, want string, reconfigure bool) {
	t.Helper()
	client, nas, _, id := onNAS(t, release)
	before := nas.State()
	req := withExtra(give...)
	req.Name = "web-2"
	_, err := client.Create(t.Context(), req)
	refusedWith(t, err, "InvalidArgument", want)
	if reconfigure {
		refusedWith(t, reconfigureExtra(t, client, id, give...), "InvalidArgument", want)
	}
	if after := nas.State(); !reflect.DeepEqual(before, after) {
		t.Errorf("%s: refused, and the NAS was changed:\n%s", release, changes(t, before, after))
	}
}

// hardware returns the record of the NAS's first VM.
func hardware(nas *sim.Sim) map[string]any { return nas.VMs()[0].Config }

// emulated are settings of the record of a VM, with their values in the record.
var emulated = []struct {
	name string
	give []string
	want map[string]any
	once bool // an existing VM cannot get the setting
}{
	{"nothing", nil, map[string]any{"cpu_mode": "HOST-PASSTHROUGH", "cpu_model": nil, "vcpus": 1, "cores": 2, "threads": 1, "time": "UTC", "hyperv_enlightenments": false, "machine_type": nil, "shutdown_timeout": 90}, false},
	{"the host's model", []string{"cpu_mode=host-model"}, map[string]any{"cpu_mode": "HOST-MODEL", "cpu_model": nil}, false},
	{"a model", []string{"cpu_mode=custom", "cpu_model=EPYC-Rome"}, map[string]any{"cpu_mode": "CUSTOM", "cpu_model": "EPYC-Rome"}, false},
	{"sockets", []string{"cpu_sockets=2"}, map[string]any{"vcpus": 2, "cores": 1, "threads": 1}, false},
	{"threads", []string{"cpu_threads=2", "cpu_topology_extension=true"}, map[string]any{"vcpus": 1, "cores": 1, "threads": 2, "enable_cpu_topology_extension": true}, false},
	{"a set of CPUs", []string{"cpuset=0-3", "nodeset=0"}, map[string]any{"cpuset": "0-3", "nodeset": "0", "pin_vcpus": false}, false},
	{"pinned CPUs", []string{"cpuset=1,5", "pin_vcpus=true"}, map[string]any{"cpuset": "1,5", "pin_vcpus": true}, false},
	{"a hidden hypervisor", []string{"hide_from_msr=true"}, map[string]any{"hide_from_msr": true}, false},
	{"Hyper-V", []string{"hyperv_enlightenments=true"}, map[string]any{"hyperv_enlightenments": true, "time": "UTC"}, false},
	{"Windows", []string{"os=windows"}, map[string]any{"hyperv_enlightenments": true, "time": "LOCAL"}, false},
	{"local time", []string{"clock=local"}, map[string]any{"hyperv_enlightenments": false, "time": "LOCAL"}, false},
	{"a machine type", []string{"machine_type=pc-q35-8.2"}, map[string]any{"machine_type": "pc-q35-8.2", "arch_type": "x86_64"}, true},
	{"a timeout", []string{"shutdown_timeout=300"}, map[string]any{"shutdown_timeout": 300}, false},
}

func checkHardware(t *testing.T, nas *sim.Sim, want map[string]any) {
	t.Helper()
	for key, value := range want {
		if got := hardware(nas)[key]; fmt.Sprint(got) != fmt.Sprint(value) {
			t.Errorf("%s is %v, want %v", key, got, value)
		}
	}
}

// TestHardwareReachesTheNAS gives each setting at Create, twice, and reads it back from the NAS. The second Create changes
// nothing, and neither does a Reconfigure with the same class.
func TestHardwareReachesTheNAS(t *testing.T) {
	t.Parallel()
	for _, tt := range emulated {
		t.Run(tt.name, func(t *testing.T) {
			for _, release := range releases {
				checkSettings(t, release, tt.give, func(nas *sim.Sim) { checkHardware(t, nas, tt.want) })
			}
		})
	}
}

// TestHardwareChanges gives each setting to a VM that has none, by Reconfigure and by another Create.
func TestHardwareChanges(t *testing.T) {
	t.Parallel()
	for name, change := range settingChanges {
		for _, tt := range emulated {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				for _, release := range releases {
					client, nas, _, id := onNAS(t, release)
					before := maps.Clone(hardware(nas))
					err := change(t, client, id, tt.give...)
					if tt.once {
						refusedWith(t, err, "FailedPrecondition", "cannot be changed")
						checkHardware(t, nas, before)
						continue
					}
					if err != nil {
						t.Errorf("%s: %v", release, err)
					}
					checkHardware(t, nas, tt.want)
					// A class without settings keeps them.
					if err := change(t, client, id); err != nil {
						t.Errorf("%s: without settings: %v", release, err)
					}
					checkHardware(t, nas, tt.want)
				}
			})
		}
	}
}

// A custom CPU becomes the host's again, and its model is removed.
func TestHardwareModelGoes(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas, _, id := onNAS(t, release)
		for _, tt := range emulated[1:3] {
			for _, give := range [][]string{{"cpu_mode=custom", "cpu_model=EPYC"}, tt.give} {
				if err := reconfigureExtra(t, client, id, give...); err != nil {
					t.Fatalf("%s: %v", release, err)
				}
			}
			checkHardware(t, nas, tt.want)
		}
	}
}

// TestHardwareIsRefusedByKey requests impossible settings; no object is made.
func TestHardwareIsRefusedByKey(t *testing.T) {
	t.Parallel()
	const p = "class_json.ExtraConfig.truenas.io/"
	for _, tt := range []struct {
		name string
		give []string
		want string
	}{
		{"an unknown setting", []string{"cpu_mod=custom"}, p + "cpu_mod: not a setting of this provider; did you mean truenas.io/cpu_mode?"},
		{"an unknown mode", []string{"cpu_mode=fast"}, p + "cpu_mode: "},
		{"a model that the NAS does not list", []string{"cpu_mode=custom", "cpu_model=Z80"}, p + `cpu_model: "Z80"; the NAS offers EPYC`},
		{"a machine that the NAS does not list", []string{"machine_type=pc-q35-99"}, p + `machine_type: "pc-q35-99"; the NAS offers `},
		{"CPUs that do not fit", []string{"cpu_threads=3"}, p + "cpu_threads: the VM has 2 CPUs"},
		{"too few pinned", []string{"cpuset=0", "pin_vcpus=true"}, p + "cpuset: "},
		{"a long timeout", []string{"shutdown_timeout=301"}, p + "shutdown_timeout: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, release := range releases {
				refusesSettings(t, release, tt.give, tt.want, !strings.Contains(tt.name, "machine"))
			}
		})
	}
}

// A key whose prefix differs in its case alone is refused; it is not ignored like the key of another hypervisor.
func TestHardwarePrefixInCapitals(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10")
	addImage(t, nas)
	req := good()
	req.ClassJson = strings.TrimSuffix(req.ClassJson, "}") + `,"ExtraConfig":{"TrueNAS.io/cpu_mode":"host-model"}}`
	_, err := client.Create(t.Context(), req)
	refusedWith(t, err, "InvalidArgument", "class_json.ExtraConfig.TrueNAS.io/cpu_mode: the keys of settings begin with truenas.io/, in lower case")
	if len(nas.VMs()) > 0 {
		t.Error("a VM was made")
	}
}

// TestHardwareOfARunningVM changes a running VM: a manager of line 0.4 is notified that a restart is required, an older one is
// refused.
func TestHardwareOfARunningVM(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas, _, id := onNAS(t, release)
		if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
			t.Fatal(err)
		}
		desired := asManaged(`"ExtraConfig":null`, `"ExtraConfig":`+extraConfig("cpu_sockets=2"))
		refusedWith(t, reconfigured(t, client, id, desired), "FailedPrecondition", "the arrangement of the CPUs can change only while VM")
		_, err := client.Create(t.Context(), withExtra("hide_from_msr=true"))
		refusedWith(t, err, "FailedPrecondition", "truenas.io/hide_from_msr: VM \"web-1\" runs with false, not with true")

		newer := strings.TrimSuffix(desired, "}") + `,"Owner":{"UID":"","Namespace":"","Name":""}}`
		for range 2 { // The second one changes nothing, and the VM still runs with its settings at the start.
			resp, err := client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: id, DesiredJson: newer})
			if err != nil || !resp.GetRestartRequired() {
				t.Errorf("%s: restart required is %v, %v", release, resp.GetRestartRequired(), err)
			}
		}
		checkHardware(t, nas, map[string]any{"vcpus": 2, "cores": 1})
	}
}

// TestCloneHasTheHardwareOfItsSource clones a VM with unusual hardware.
func TestCloneHasTheHardwareOfItsSource(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, nas := onRelease(t, release)
		addImage(t, nas)
		give := []string{"cpu_mode=custom", "cpu_model=EPYC", "cpu_threads=2", "clock=local", "cpuset=0-3", "nodeset=0", "hide_from_msr=true", "machine_type=pc-q35-8.2"}
		resp, err := client.Create(t.Context(), withExtra(give...))
		if err != nil {
			t.Fatal(err)
		}
		for i, class := range []string{"", `{"extraConfig":{"truenas.io/clock":"utc","truenas.io/cpu_sockets":"2"}}`} {
			req := &providerv1.CloneRequest{SourceVmId: resp.GetId(), TargetName: fmt.Sprint("copy-", i), Linked: true, ClassJson: class}
			if _, err := client.Clone(t.Context(), req); err != nil {
				t.Fatalf("%s: %v", release, err)
			}
			configs := map[any]map[string]any{}
			for _, vm := range nas.VMs() {
				configs[vm.Config["name"]] = vm.Config
			}
			source, clone := configs["web_1"], configs[fmt.Sprint("copy_", i)]
			for _, key := range []string{"cpu_mode", "cpu_model", "cpuset", "nodeset", "hide_from_msr", "machine_type", "arch_type", "vcpus", "cores", "threads", "time"} {
				if asked := i == 1 && (key == "time" || key == "vcpus" || key == "threads"); fmt.Sprint(source[key]) == fmt.Sprint(clone[key]) == asked {
					t.Errorf("%s: %s is %v, that of the source is %v", release, key, clone[key], source[key])
				}
			}
		}
	}
}
