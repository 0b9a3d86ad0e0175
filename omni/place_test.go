package omni

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cosi-project/runtime/pkg/safe"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"virtrigaud-provider-truenas/omni/machine"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// twoNASes returns an Omni with two NASes behind one adapter.
func twoNASes(t *testing.T, configure func(*sim.Config)) (w *world, east, west *sim.Sim, links [2]*link) {
	links = [2]*link{{}, {}}
	first, east := onNAS(t, "25.10", configure, links[0].option())
	second, west := onNAS(t, "26", nil, links[1].option())
	return newWorld(t, Backend{Name: "east", Client: first}, Backend{Name: "west", Client: second}), east, west, links
}

// A class without a pool has its image and its machine on the pool that the provider chooses.
func TestPoolChoice(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, func(c *sim.Config) {
				c.Release = release
				c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "fast", SizeBytes: 200 << 30, Flash: true}}
			})
			s, err := server.New(api, server.Config{
				ID: "nas", Dataset: "tank/virtrigaud", DefaultNetwork: "br0", AllowedPools: []string{"tank", "fast"}, ChoosePool: `kind == "flash"`,
				Disk: disk.Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			w := newWorld(t, Backend{Name: "nas", Client: servertest.Dial(t, s.Register)})
			_, stop := w.start()
			defer stop()
			w.request("m0", "cores: 2\nmemory: 2048\ndisk_size: 10\n")
			w.provisioned("m0")
			for _, d := range nas.State().Datasets {
				if strings.HasPrefix(d.Name, "tank/virtrigaud/vms/") || strings.HasPrefix(d.Name, "tank/virtrigaud/images/") {
					t.Errorf("%s was made", d.Name)
				}
			}
			if len(machines(nas)) != 1 {
				t.Errorf("the NAS has %v", machines(nas))
			}
			w.release("m0")
		})
	}
}

func TestMachinesOfASetAreSpread(t *testing.T) {
	w, east, west, _ := twoNASes(t, nil)
	_, stop := w.start()
	for i := range 6 {
		w.request(fmt.Sprintf("m%d", i), class)
	}
	for i := range 6 {
		w.provisioned(fmt.Sprintf("m%d", i))
	}
	if len(machines(east)) != 3 || len(machines(west)) != 3 {
		t.Errorf("east has %v, west has %v", machines(east), machines(west))
	}
	for i := range 6 {
		w.release(fmt.Sprintf("m%d", i))
	}
	if left := append(leftovers(east), leftovers(west)...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	stop()
}

// The first machine is placed on the NAS with the most free memory, although the other NAS comes first in the configuration.
func TestPlacementByFreeMemory(t *testing.T) {
	w, east, west, _ := twoNASes(t, func(c *sim.Config) { c.MemoryBytes = 8 << 30 })
	_, stop := w.start()
	w.request("m0", class)
	w.provisioned("m0")
	if len(machines(east)) != 0 || len(machines(west)) != 1 {
		t.Errorf("east has %v, west has %v", machines(east), machines(west))
	}
	stop()
}

// A NAS gets no machine that does not fit into its memory, even if the spread is then less even. Concurrent requests count before
// their machines run.
func TestNASIsNotOverfilled(t *testing.T) {
	w, east, west, _ := twoNASes(t, func(c *sim.Config) { c.MemoryBytes = 3 << 30 })
	_, stop := w.start()
	for i := range 4 {
		w.request(fmt.Sprintf("m%d", i), class)
	}
	for i := range 4 {
		w.provisioned(fmt.Sprintf("m%d", i))
	}
	if len(machines(east)) != 1 || len(machines(west)) != 3 {
		t.Errorf("east has %v, west has %v", machines(east), machines(west))
	}
	stop()
}

// A machine with a device is placed on a NAS with a free one, even if the spread is then less even.
func TestFreeDevicePrecedesSpread(t *testing.T) {
	gpus := func(addresses ...string) func(*sim.Config) {
		return func(c *sim.Config) {
			for _, address := range addresses {
				c.PCI = append(c.PCI, sim.PCIDevice{Address: address, Class: "0x030000", Type: "VGA compatible controller", Vendor: "NVIDIA Corporation", Product: "GP104"})
			}
		}
	}
	first, east := onNAS(t, "25.10", gpus("0000:01:00.0"))
	second, west := onNAS(t, "27", gpus("0000:01:00.0", "0000:02:00.0"))
	w := newWorld(t, Backend{Name: "east", Client: first}, Backend{Name: "west", Client: second})
	_, stop := w.start()
	for i := range 3 {
		w.request(fmt.Sprintf("m%d", i), class+"pci: ['any:NVIDIA']\n")
	}
	for i := range 3 {
		w.provisioned(fmt.Sprintf("m%d", i))
	}
	if len(machines(east)) != 1 || len(machines(west)) != 2 {
		t.Errorf("east has %v, west has %v", machines(east), machines(west))
	}
	stop()
}

// With a strict spread each machine of a set is on another NAS. One machine too many waits until another is removed.
func TestStrictSpread(t *testing.T) {
	w, east, west, _ := twoNASes(t, nil)
	_, stop := w.start()
	for i := range 2 {
		w.request(fmt.Sprintf("m%d", i), class+"spread: strict\n")
		w.provisioned(fmt.Sprintf("m%d", i))
	}
	if len(machines(east)) != 1 || len(machines(west)) != 1 {
		t.Errorf("east has %v, west has %v", machines(east), machines(west))
	}
	w.request("m2", class+"spread: strict\n")
	until(t, "the third machine waits", func() bool {
		return strings.Contains(w.status("m2").TypedSpec().Value.GetError(), "spread is strict")
	})
	if len(machines(east))+len(machines(west)) != 2 {
		t.Errorf("east has %v, west has %v", machines(east), machines(west))
	}
	w.release("m0")
	w.provisioned("m2")
	if len(machines(east)) != 1 || len(machines(west)) != 1 {
		t.Errorf("after one was removed: east has %v, west has %v", machines(east), machines(west))
	}
	stop()
}

func TestClassNamesItsNAS(t *testing.T) {
	w, east, west, _ := twoNASes(t, nil)
	_, stop := w.start()
	for i := range 3 {
		w.request(fmt.Sprintf("m%d", i), class+"provider: west\n")
		w.provisioned(fmt.Sprintf("m%d", i))
	}
	w.request("nowhere", class+"provider: north\n")
	w.failed("nowhere", `the machine class names the unknown provider "north"; known: east, west`)
	if len(machines(east)) != 0 || len(machines(west)) != 3 {
		t.Errorf("east has %v, west has %v", machines(east), machines(west))
	}
	stop()
}

func TestUnreachableNASDoesNotBlockTheOther(t *testing.T) {
	w, east, west, links := twoNASes(t, nil)
	links[0].away.Store(true)
	_, stop := w.start()
	for i := range 4 {
		w.request(fmt.Sprintf("m%d", i), class)
	}
	for i := range 4 {
		w.provisioned(fmt.Sprintf("m%d", i))
	}
	if len(machines(east)) != 0 || len(machines(west)) != 4 {
		t.Errorf("east has %v, west has %v", machines(east), machines(west))
	}
	w.health("east cannot be reached")
	w.release("m0")
	links[0].away.Store(false)
	w.health("")
	stop()
}

func TestPlacementAfterRefusal(t *testing.T) {
	for _, tt := range []struct {
		name      string
		configure func(*sim.Config)
		class     string
	}{
		{"no memory", func(c *sim.Config) { c.MemoryBytes = 1 << 30 }, class},
		{"no such pool", func(c *sim.Config) { c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}} }, strings.Replace(class, "tank", "fast", 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, east := onNAS(t, "25.10", tt.configure)
			second, west := onNAS(t, "27", func(c *sim.Config) {
				c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "fast", SizeBytes: 1 << 40}}
			})
			w := newWorld(t, Backend{Name: "east", Client: first}, Backend{Name: "west", Client: second})
			_, stop := w.start()
			w.request("one", tt.class)
			if spec := w.provisioned("one"); spec.GetProvider() != "west" {
				t.Errorf("it is on %s", spec.GetProvider())
			}
			if len(leftovers(east)) != 0 || len(machines(west)) != 1 {
				t.Errorf("east has %v, west has %v", leftovers(east), machines(west))
			}
			w.release("one")
			stop()
		})
	}
}

// TestReassign checks which refusals move a request to another backend, and what it forgets of the first one then. A request whose
// machine may exist stays, or there would be two of it.
func TestReassign(t *testing.T) {
	refusedBy := func(code codes.Code) error { return backendError{"east", status.Error(code, "because")} }
	started := func() *machine.MachineSpec {
		return &machine.MachineSpec{Provider: "east", ImagePath: "/pool/a", Committed: true, NameTaken: true, Addresses: []string{"192.0.2.10"}}
	}
	for _, tt := range []struct {
		name   string
		change func(*machine.MachineSpec)
		class  Class
		err    error
		moves  bool
	}{
		{"no room", nil, Class{}, refusedBy(codes.ResourceExhausted), true},
		{"the name is taken", nil, Class{}, refusedBy(codes.AlreadyExists), true},
		{"a bad request", nil, Class{}, refusedBy(codes.InvalidArgument), true},
		{"busy", nil, Class{}, refusedBy(codes.Aborted), false},
		{"away after Create", nil, Class{}, refusedBy(codes.Unavailable), false},
		{"slow after Create", nil, Class{}, refusedBy(codes.DeadlineExceeded), false},
		{"away before Create", func(s *machine.MachineSpec) { s.Committed = false }, Class{}, refusedBy(codes.Unavailable), true},
		{"slow before Create", func(s *machine.MachineSpec) { s.Committed = false }, Class{}, refusedBy(codes.DeadlineExceeded), true},
		{"the class names the backend", nil, Class{Provider: "east"}, refusedBy(codes.ResourceExhausted), false},
		{"the machine exists", func(s *machine.MachineSpec) { s.VmId = "a" }, Class{}, refusedBy(codes.ResourceExhausted), false},
		{"not the backend's error", nil, Class{}, refusal("no"), false},
		{"work in progress", nil, Class{}, waiting{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := servertest.Dial(t, newForeign().register)
			p := &Provisioner{providers: []*backend{{name: "east", client: client}, {name: "west", client: client}}}
			r := &request{spec: started(), log: zap.NewNop()}
			if tt.change != nil {
				tt.change(r.spec)
			}
			before := proto.Clone(r.spec)
			err := p.reassign(t.Context(), r, tt.class, p.providers[0], tt.err)
			if !tt.moves {
				if !errors.Is(err, tt.err) || !proto.Equal(r.spec, before) {
					t.Errorf("got %v, %v", err, r.spec)
				}
				return
			}
			moved := &machine.MachineSpec{Refused: []string{"east"}, Addresses: []string{"192.0.2.10"}}
			if !isWaiting(err) || !proto.Equal(r.spec, moved) {
				t.Errorf("got %v, %v", err, r.spec)
			}
			r.spec.Provider, r.spec.Committed = "west", true
			err = p.reassign(t.Context(), r, tt.class, p.providers[1], backendError{"west", status.Error(codes.ResourceExhausted, "full")})
			if isWaiting(err) || !strings.Contains(err.Error(), "no backend accepts this machine") || len(r.spec.Refused) > 0 || r.spec.Provider != "" || r.spec.Committed {
				t.Errorf("after the last backend: %v, %v", err, r.spec)
			}
		})
	}
	alone := &Provisioner{providers: []*backend{{name: "east"}}}
	r := &request{spec: started(), log: zap.NewNop()}
	if err := alone.reassign(t.Context(), r, Class{}, alone.providers[0], refusedBy(codes.ResourceExhausted)); isWaiting(err) || !proto.Equal(r.spec, started()) {
		t.Errorf("the only backend: %v, %v", err, r.spec)
	}
}

// TestApplySpread checks which backends a strict spread leaves. Machines of other sets do not count, and those of a backend that
// is not among the candidates do.
func TestApplySpread(t *testing.T) {
	p := &Provisioner{providers: []*backend{{name: "a1", domain: "a"}, {name: "a2", domain: "a"}, {name: "b1", domain: "b"}}}
	on := func(names ...string) map[string]*machine.MachineSpec {
		others := map[string]*machine.MachineSpec{"elsewhere": {Provider: "gone", RequestSet: "workers"}, "other": {Provider: "b1", RequestSet: "others"}}
		for _, name := range names {
			others["on-"+name] = &machine.MachineSpec{Provider: name, RequestSet: "workers"}
		}
		return others
	}
	for _, tt := range []struct {
		name, spread, provider string
		candidates             []int
		others                 map[string]*machine.MachineSpec
		want, refused          string
	}{
		{"even", spreadEven, "", []int{0, 1, 2}, on("a1", "a2", "b1"), "a1 a2 b1", ""},
		{"not given", "", "", []int{0, 1, 2}, on("a1", "a2", "b1"), "a1 a2 b1", ""},
		{"strict: none yet", spreadStrict, "", []int{0, 1, 2}, on(), "a1 a2 b1", ""},
		{"strict: one is taken", spreadStrict, "", []int{0, 1, 2}, on("a1"), "a2 b1", ""},
		{"strict: all are taken", spreadStrict, "", []int{0, 1, 2}, on("a1", "a2", "b1"), "", "spread is strict, and each NAS that takes this machine has one of its set; add a NAS, or use fewer machines"},
		{"strict: the free one is away", spreadStrict, "", []int{0, 1}, on("a1", "a2"), "", "use fewer machines; b1 has none, and is away or refuses this machine"},
		{"strict: the named one is taken", spreadStrict, "a1", []int{0}, on("a1"), "", "or use fewer machines"},
		{"domains: one is taken", spreadStrictDomain, "", []int{0, 1, 2}, on("a2"), "b1", ""},
		{"domains: both are taken", spreadStrictDomain, "", []int{0, 1, 2}, on("a2", "b1"), "", "spread is strict-domain, and each failure domain that takes this machine has one of its set; add a NAS in another one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var candidates []*backend
			for _, i := range tt.candidates {
				candidates = append(candidates, p.providers[i])
			}
			free, err := p.applySpread(candidates, Class{Spread: tt.spread, Provider: tt.provider}, "workers", tt.others)
			var names []string
			for _, b := range free {
				names = append(names, b.name)
			}
			if got := strings.Join(names, " "); got != tt.want || (err != nil) != (tt.refused != "") {
				t.Errorf("left are %q, %v; want %q", got, err, tt.want)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.refused) || tt.provider != "" && strings.Contains(err.Error(), "has none")) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestStepThatFails checks that a request that cannot be placed fails at its first step, where Omni shows it, and that metrics hear of
// every step.
func TestStepThatFails(t *testing.T) {
	f := newForeign()
	w := newWorld(t, Backend{Name: "nas", Client: servertest.Dial(t, f.register)})
	var mu sync.Mutex
	var heard []string
	w.cfg.Hooks.OnStep = func(step, result string) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, step+": "+result)
	}
	_, stop := w.start()
	defer stop()
	for _, tt := range []struct{ name, class, want string }{
		{"class", class + "colour: red\n", "colour is not a setting"},
		{"talos", class + "extensions: [no-such/extension]\n", "no-such/extension"},
		{"place", class + "provider: north\n", `unknown provider "north"`},
		{"offer", class + "disk_type: thick\n", "no disks of disk_type thick"},
	} {
		mu.Lock()
		heard = nil
		mu.Unlock()
		w.request(tt.name, tt.class)
		w.failed(tt.name, tt.want)
		mu.Lock()
		for _, got := range heard {
			if got != "check the machine class: failed" && got != "check the machine class: retry" {
				t.Errorf("%s: %s", tt.name, got)
			}
		}
		if len(heard) == 0 {
			t.Errorf("%s: no step was reported", tt.name)
		}
		mu.Unlock()
		w.release(tt.name)
	}
	mu.Lock()
	heard = nil
	mu.Unlock()
	w.request("one", class)
	w.provisioned("one")
	w.release("one")
	stop()
	for _, step := range []string{"check the machine class", "prepare the Talos image", "create the virtual machine", "write its configuration", "start the virtual machine", "wait for it to join"} {
		if !slices.Contains(heard, step+": done") {
			t.Errorf("no end of %q among %q", step, heard)
		}
	}
}

func TestMachineWithoutBackendIsReported(t *testing.T) {
	w, east, _, _ := twoNASes(t, nil)
	_, stop := w.start()
	w.request("one", strings.Replace(class, "tank", "missing", 1))
	w.failed("one", "no backend accepts this machine")
	w.release("one")
	if left := leftovers(east); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	stop()
}

func TestStaticAddresses(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	_, stop := w.start()
	static := class + "ip_addresses: [192.0.2.10-192.0.2.12]\nip_prefix: 24\nip_gateway: 192.0.2.1\ndns_servers: [192.0.2.53, 192.0.2.54]\n"
	seen := map[string]bool{}
	for i := range 3 {
		w.request(fmt.Sprintf("m%d", i), static)
	}
	for i := range 3 {
		spec := w.provisioned(fmt.Sprintf("m%d", i))
		address := spec.GetAddresses()[0]
		if seen[address] {
			t.Errorf("%s is given twice", address)
		}
		seen[address] = true
		config := seedOf(t, nas, vmOf(t, nas, spec.GetUuid()))["network-config"]
		for _, want := range []string{address + "/24", "192.0.2.1", "192.0.2.53", "192.0.2.54"} {
			if !strings.Contains(config, want) {
				t.Errorf("the network configuration lacks %s:\n%s", want, config)
			}
		}
	}
	w.request("more", static)
	w.failed("more", "all usable addresses in 192.0.2.10-192.0.2.12 are in use")
	w.release("m1")
	w.provisioned("more")
	stop()
}

func TestPatches(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	w.cfg.KubeletProviderID, w.cfg.StaticHostname = true, true
	_, stop := w.start()
	w.request("one", class)
	spec := w.provisioned("one")
	for name, want := range map[string]string{
		"one-kubelet-provider-id": "provider-id: \"truenas://nas/" + spec.GetVmId() + "\"",
		"one-hostname":            "kind: HostnameConfig\nauto: \"off\"\nhostname: \"one\"",
	} {
		patch, err := safe.ReaderGetByID[*infrares.ConfigPatchRequest](t.Context(), w.omni, name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := patch.TypedSpec().Value.GetUncompressedData()
		if err != nil || !strings.Contains(string(data.Data()), want) {
			t.Errorf("patch %s is %v:\n%s", name, err, data.Data())
		}
	}
	w.release("one")
	stop()
}

func TestHostnamePatchOfOlderTalos(t *testing.T) {
	for version, want := range map[string]string{"v1.11.5": "network:", "v1.12.0-alpha.1": "HostnameConfig", "v1.13.1": "HostnameConfig", "v2.0.0": "HostnameConfig", "latest": "network:"} {
		if patch := string(hostnamePatch(version, "one")); !strings.Contains(patch, want) {
			t.Errorf("%s: %s", version, patch)
		}
	}
}

func TestSecureBootUsesSignedImage(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	_, stop := w.start()
	w.request("one", class+"secure_boot: true\ntpm: true\n")
	vm := vmOf(t, nas, w.provisioned("one").GetUuid())
	if vm.Config["enable_secure_boot"] != true || vm.Config["trusted_platform_module"] != true {
		t.Errorf("the VM is %v", vm.Config)
	}
	if fetched := w.factory.Fetched(); len(fetched) != 1 || !strings.HasSuffix(fetched[0], "/nocloud-amd64-secureboot.raw.zst") {
		t.Errorf("fetched: %v", fetched)
	}
	stop()
}
