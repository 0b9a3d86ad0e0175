package omni

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni/machine"
)

// countingProvider is a provider that reports its capabilities, its free memory and its VMs, and counts the requests for them.
type countingProvider struct {
	providerv1.ProviderClient
	can        *providerv1.GetCapabilitiesResponse
	extensions string
	free       string // as in the header; empty: not reported
	vms        []*providerv1.VMInfo
	failing    error

	read, memoryRead, listed int
}

func (m *countingProvider) GetCapabilities(ctx context.Context, _ *providerv1.GetCapabilitiesRequest, opts ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
	sent, _ := metadata.FromOutgoingContext(ctx)
	if len(sent.Get(headerMemory)) > 0 {
		m.memoryRead++
	} else {
		m.read++
	}
	if m.failing != nil {
		return nil, m.failing
	}
	for _, opt := range opts {
		if header, ok := opt.(grpc.HeaderCallOption); ok {
			*header.HeaderAddr = metadata.Pairs(headerExtensions, m.extensions)
			if m.free != "" {
				header.HeaderAddr.Set(headerMemory, m.free)
			}
		}
	}
	return m.can, nil
}

func (m *countingProvider) ListVMs(context.Context, *providerv1.ListVMsRequest, ...grpc.CallOption) (*providerv1.ListVMsResponse, error) {
	m.listed++
	return &providerv1.ListVMsResponse{Vms: m.vms}, m.failing
}

// TestFreeMemory checks that the free memory of a NAS is read once for a list of its machines, and what counts as not known.
func TestFreeMemory(t *testing.T) {
	m := &countingProvider{extensions: extensionMemory, free: "4096"}
	b := &backend{name: "nas", client: m}
	for range 3 {
		if got := b.freeMemory(t.Context()); got != 4096 {
			t.Errorf("got %d", got)
		}
	}
	if m.memoryRead != 1 {
		t.Errorf("%d requests", m.memoryRead)
	}
	if _, err := b.list(t.Context(), 0); err != nil { // A machine that runs in this list has its memory already.
		t.Fatal(err)
	}
	m.free = "2048"
	if got := b.freeMemory(t.Context()); got != 2048 || m.memoryRead != 2 {
		t.Errorf("after another list: %d, %d requests", got, m.memoryRead)
	}
	for _, tt := range []struct {
		name, extensions, free string
		failing                error
		want                   int64
	}{
		{"none", extensionMemory, "0", nil, 0},
		{"negative", extensionMemory, "-5", nil, -1},
		{"not a number", extensionMemory, "lots", nil, -1},
		{"not reported", extensionMemory, "", nil, -1},
		{"another extension", extensionDryRun, "4096", nil, -1},
		{"away", extensionMemory, "4096", status.Error(codes.Unavailable, "down"), -1},
	} {
		m := &countingProvider{extensions: tt.extensions, free: tt.free, failing: tt.failing}
		if got := (&backend{name: "nas", client: m}).freeMemory(t.Context()); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestListOfMachines checks how long a list of machines is used again.
func TestListOfMachines(t *testing.T) {
	m := &countingProvider{vms: []*providerv1.VMInfo{{Id: "a"}}}
	b := &backend{name: "nas", client: m}
	for i, want := range []int{1, 1, 2} {
		age := listAge
		if i == 2 {
			age = 0
		}
		if vms, err := b.list(t.Context(), age); err != nil || len(vms) != 1 || m.listed != want {
			t.Errorf("list %d: %v, %v, %d requests", i, vms, err, m.listed)
		}
	}
	m.failing = errors.New("away")
	if vms, err := b.list(t.Context(), 0); err == nil || len(vms) > 0 {
		t.Errorf("a failed list: %v, %v", vms, err)
	}
}

// TestLeastUsedBackend checks each reason to prefer a backend: the second one is the better one, or, where nothing decides, the first.
func TestLeastUsedBackend(t *testing.T) {
	vm := func(id string, memory int64, power string) *providerv1.VMInfo {
		return &providerv1.VMInfo{Id: id, MemoryMib: memory, PowerState: power}
	}
	record := func(provider, set, id string) *machine.MachineSpec {
		return &machine.MachineSpec{Provider: provider, RequestSet: set, VmId: id}
	}
	away := status.Error(codes.Unavailable, "down")
	for _, tt := range []struct {
		name          string
		first, second countingProvider
		domains       [3]string // of first, second and a third backend, which cannot be chosen
		others        []*machine.MachineSpec
		want          string
	}{
		{"nothing decides", countingProvider{}, countingProvider{}, [3]string{}, nil, "first"},
		{"its machines can be listed", countingProvider{failing: away}, countingProvider{}, [3]string{}, nil, "second"},
		{"fewer machines of the set", countingProvider{}, countingProvider{}, [3]string{}, []*machine.MachineSpec{record("first", "workers", "a")}, "second"},
		{"machines of another set, and more of all", countingProvider{}, countingProvider{}, [3]string{}, []*machine.MachineSpec{record("first", "others", "a")}, "second"},
		{"machines of a backend that is not a candidate", countingProvider{}, countingProvider{}, [3]string{}, []*machine.MachineSpec{record("gone", "workers", "a")}, "first"},
		{"fewer machines of the set in its domain", countingProvider{}, countingProvider{}, [3]string{"x", "y", "x"}, []*machine.MachineSpec{record("third", "workers", "a")}, "second"},
		{"a machine of another set in the domain", countingProvider{}, countingProvider{}, [3]string{"x", "y", "x"}, []*machine.MachineSpec{record("third", "others", "a")}, "first"},
		{"VMs that use less memory", countingProvider{vms: []*providerv1.VMInfo{vm("a", 4096, stateOn)}}, countingProvider{vms: []*providerv1.VMInfo{vm("b", 2048, stateOn)}}, [3]string{}, nil, "second"},
		{"more free memory", countingProvider{free: "8192"}, countingProvider{free: "16384"}, [3]string{}, nil, "second"},
		{"free memory counts before that of VMs", countingProvider{free: "8192"}, countingProvider{free: "16384", vms: []*providerv1.VMInfo{vm("a", 9999, stateOn)}}, [3]string{}, nil, "second"},
		{"free memory that only one reports", countingProvider{}, countingProvider{free: "16384"}, [3]string{}, nil, "first"},
		{"exactly enough memory", countingProvider{free: "2047"}, countingProvider{free: "2048", vms: []*providerv1.VMInfo{vm("b", 2048, stateOn)}}, [3]string{}, []*machine.MachineSpec{record("second", "workers", "b")}, "second"},
		{"room on neither", countingProvider{free: "2046"}, countingProvider{free: "2047", vms: []*providerv1.VMInfo{vm("b", 2048, stateOn)}}, [3]string{}, []*machine.MachineSpec{record("second", "workers", "b")}, "first"},
		{"room counts before the set", countingProvider{free: "2047"}, countingProvider{free: "8192"}, [3]string{}, []*machine.MachineSpec{record("second", "workers", "b")}, "second"},
		{"a machine that is not created yet takes memory", countingProvider{free: "8192"}, countingProvider{free: "7000"}, [3]string{}, []*machine.MachineSpec{record("first", "others", "")}, "second"},
		{"a machine that is off takes memory", countingProvider{free: "8192", vms: []*providerv1.VMInfo{vm("a", 4096, "Off")}}, countingProvider{free: "7000"}, [3]string{}, []*machine.MachineSpec{record("first", "others", "a")}, "second"},
		{"a machine that runs has its memory", countingProvider{free: "8192", vms: []*providerv1.VMInfo{vm("a", 4096, stateOn)}}, countingProvider{free: "7000"}, [3]string{}, []*machine.MachineSpec{record("first", "others", "a")}, "first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.first.extensions, tt.second.extensions = extensionMemory, extensionMemory
			p := &Provisioner{}
			for i, name := range []string{"first", "second", "third"} {
				p.providers = append(p.providers, &backend{name: name, domain: or(tt.domains[i], name), client: []*countingProvider{&tt.first, &tt.second, nil}[i]})
			}
			candidates := p.providers[:2]
			others := map[string]*machine.MachineSpec{}
			for i, other := range tt.others {
				others[string(rune('a'+i))] = other
			}
			if got := p.leastUsed(t.Context(), candidates, Class{MemoryMiB: 2048}, "workers", others); got.name != tt.want {
				t.Errorf("chose %s, want %s", got.name, tt.want)
			}
		})
	}
	only := &countingProvider{}
	p := &Provisioner{}
	p.providers = append(p.providers, &backend{name: "only", client: only})
	if got := p.leastUsed(t.Context(), p.providers, Class{}, "", nil); got.name != "only" || only.read+only.memoryRead+only.listed > 0 {
		t.Errorf("the only backend: chose %s with %d requests", got.name, only.read+only.memoryRead+only.listed)
	}
}

// TestCheckSupport checks each reason for which the capabilities of a backend rule out a class. What a backend does not list is not ruled out.
func TestCheckSupport(t *testing.T) {
	all := &providerv1.GetCapabilitiesResponse{SupportsImageImport: true, SupportedDiskTypes: []string{"thin", "raw"}, SupportedNetworkTypes: []string{"bridge", "vlan"}}
	plain := &providerv1.GetCapabilitiesResponse{SupportsImageImport: true, SupportedDiskTypes: []string{"thin"}, SupportedNetworkTypes: []string{"bridge"}}
	silent := &providerv1.GetCapabilitiesResponse{SupportsImageImport: true}
	for _, tt := range []struct {
		name  string
		can   *providerv1.GetCapabilitiesResponse
		class Class
		want  string // part of the refusal; empty: accepted
	}{
		{"all that is needed", plain, Class{}, ""},
		{"no image import", &providerv1.GetCapabilitiesResponse{}, Class{}, "nas cannot import images"},
		{"a disk type that it has", all, Class{DiskType: "raw"}, ""},
		{"a disk type that it lacks", plain, Class{DiskType: "thick"}, "nas offers no disks of disk_type thick, only thin"},
		{"a disk type, and it lists none", silent, Class{DiskType: "thick"}, ""},
		{"an additional disk without a type", plain, Class{Disks: []Disk{{SizeGiB: 1}}}, ""},
		{"an additional disk of a type that it has", all, Class{Disks: []Disk{{Type: "raw"}}}, ""},
		{"an additional disk of a type that it lacks", plain, Class{Disks: []Disk{{}, {Type: "thick"}}}, "nas offers no additional_disks of type thick, only thin"},
		{"an additional disk of a type, and it lists none", silent, Class{Disks: []Disk{{Type: "thick"}}}, ""},
		{"a pool of an additional disk", all, Class{Disks: []Disk{{Pool: "rust"}}}, "nas does not know the setting pool of additional_disks"},
		{"a VLAN", all, Class{NIC: NIC{VLAN: 7}}, ""},
		{"a VLAN that it lacks", plain, Class{NIC: NIC{VLAN: 7}}, "nas offers no networks with a vlan, only bridge"},
		{"a VLAN of an additional card that it lacks", plain, Class{NICs: []NIC{{VLAN: 7}}}, "nas offers no networks with a vlan, only bridge"},
		{"a VLAN, and it lists no networks", silent, Class{NIC: NIC{VLAN: 7}}, ""},
	} {
		err := (&backend{name: "nas", client: &countingProvider{can: tt.can}}).checkSupport(t.Context(), tt.class)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	pools := &backend{name: "nas", client: &countingProvider{can: all, extensions: extensionDryRun + "," + extensionDiskPools}}
	if err := pools.checkSupport(t.Context(), Class{Disks: []Disk{{Pool: "rust"}}}); err != nil {
		t.Errorf("a pool of an additional disk that it knows: %v", err)
	}
}

// TestCapabilitiesAreKept: capabilities are read once, and the last ones count while they cannot be read.
func TestCapabilitiesAreKept(t *testing.T) {
	away := status.Error(codes.Unavailable, "down")
	m := &countingProvider{can: &providerv1.GetCapabilitiesResponse{SupportsImageImport: true}, failing: away}
	b := &backend{name: "nas", client: m}
	if can, err := b.capabilities(t.Context()); codeOf(err) != codes.Unavailable || can != nil {
		t.Errorf("before the first answer: %v, %v", can, err)
	}
	m.failing = nil
	for range 2 {
		if can, err := b.capabilities(t.Context()); err != nil || !can.GetSupportsImageImport() {
			t.Errorf("got %v, %v", can, err)
		}
	}
	if m.read != 2 {
		t.Errorf("%d requests", m.read)
	}
	m.failing, b.canRead = away, b.canRead.Add(-2*checkedAge)
	if can, err := b.capabilities(t.Context()); err != nil || !can.GetSupportsImageImport() || m.read != 3 {
		t.Errorf("while it is away: %v, %v, %d requests", can, err, m.read)
	}
}
