package omni

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/servertest"
)

// foreign is an independent implementation of the contract in memory. Its ids are not UUIDs, every operation is a task, and its
// raw data is empty. It shares only the contract with our provider.
type foreign struct {
	providerv1.UnimplementedProviderServer

	mu      sync.Mutex
	slow    bool           // return tasks that are done at the second poll
	uuids   bool           // its raw data has SMBIOS UUIDs
	tasks   map[string]int // polls until a task is done
	vms     map[string]*foreignVM
	images  map[string]string // by path: the URL
	full    bool
	creates []*providerv1.CreateRequest
}

type foreignVM struct {
	req *providerv1.CreateRequest
	on  bool
}

func newForeign() *foreign {
	return &foreign{tasks: map[string]int{}, vms: map[string]*foreignVM{}, images: map[string]string{}}
}

func (f *foreign) register(r grpc.ServiceRegistrar) { providerv1.RegisterProviderServer(r, f) }

func (f *foreign) task(name string) *providerv1.TaskRef {
	if !f.slow {
		return nil
	}
	f.tasks[name] = 2
	return &providerv1.TaskRef{Id: name}
}

func (f *foreign) Validate(context.Context, *providerv1.ValidateRequest) (*providerv1.ValidateResponse, error) {
	return &providerv1.ValidateResponse{Ok: true, Message: "fine"}, nil
}

func (f *foreign) GetCapabilities(context.Context, *providerv1.GetCapabilitiesRequest) (*providerv1.GetCapabilitiesResponse, error) {
	return &providerv1.GetCapabilitiesResponse{SupportsImageImport: true, SupportedDiskTypes: []string{"thin"}, SupportedNetworkTypes: []string{"bridge"}}, nil
}

func (f *foreign) ImagePrepare(_ context.Context, req *providerv1.ImagePrepareRequest) (*providerv1.ImagePrepareResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var job struct {
		Source struct {
			Libvirt struct{ URL, Format string }
		}
	}
	if err := json.Unmarshal([]byte(req.GetImageJson()), &job); err != nil || job.Source.Libvirt.URL == "" {
		return nil, status.Error(codes.InvalidArgument, "no image given")
	}
	path := "/pool/" + req.GetTargetName()
	f.images[path] = job.Source.Libvirt.URL
	return &providerv1.ImagePrepareResponse{PreparedImagePath: path, Task: f.task("image " + path)}, nil
}

func (f *foreign) Create(_ context.Context, req *providerv1.CreateRequest) (*providerv1.CreateResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var image struct{ Path string }
	if err := json.Unmarshal([]byte(req.GetImageJson()), &image); err != nil || f.images[image.Path] == "" {
		return nil, status.Errorf(codes.FailedPrecondition, "there is no image %q", image.Path)
	}
	if f.full {
		return nil, status.Error(codes.ResourceExhausted, "no memory")
	}
	id := "vm-" + req.GetName()
	if _, ok := f.vms[id]; ok {
		return &providerv1.CreateResponse{Id: id}, nil
	}
	f.creates = append(f.creates, req)
	f.vms[id] = &foreignVM{req: req}
	return &providerv1.CreateResponse{Id: id, Task: f.task("create " + id)}, nil
}

func (f *foreign) Power(_ context.Context, req *providerv1.PowerRequest) (*providerv1.TaskResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vm := f.vms[req.GetId()]
	if vm == nil {
		return nil, status.Error(codes.NotFound, "no such VM")
	}
	vm.on = req.GetOp() == providerv1.PowerOp_POWER_OP_ON
	return &providerv1.TaskResponse{Task: f.task("power " + req.GetId())}, nil
}

func (f *foreign) Describe(_ context.Context, req *providerv1.DescribeRequest) (*providerv1.DescribeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vm := f.vms[req.GetId()]
	if vm == nil {
		return &providerv1.DescribeResponse{}, nil
	}
	resp := &providerv1.DescribeResponse{Exists: true, PowerState: "Off"}
	if vm.on {
		resp.PowerState = "On"
	}
	if f.uuids {
		resp.ProviderRawJson = `{"UUID":"0A1B2C3D-0000-4000-8000-00000000000A"}`
	}
	return resp, nil
}

func (f *foreign) Delete(_ context.Context, req *providerv1.DeleteRequest) (*providerv1.TaskResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.vms[req.GetId()] == nil {
		return nil, status.Error(codes.NotFound, "no such VM")
	}
	delete(f.vms, req.GetId())
	return &providerv1.TaskResponse{Task: f.task("delete " + req.GetId())}, nil
}

func (f *foreign) TaskStatus(_ context.Context, req *providerv1.TaskStatusRequest) (*providerv1.TaskStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tasks[req.GetTask().GetId()]--
	return &providerv1.TaskStatusResponse{Done: f.tasks[req.GetTask().GetId()] <= 0}, nil
}

func (f *foreign) ListVMs(context.Context, *providerv1.ListVMsRequest) (*providerv1.ListVMsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &providerv1.ListVMsResponse{}
	for id, vm := range f.vms {
		power := "Off"
		if vm.on {
			power = "On"
		}
		resp.Vms = append(resp.Vms, &providerv1.VMInfo{Id: id, Name: vm.req.GetName(), PowerState: power, Cpu: 2, MemoryMib: 2048})
	}
	return resp, nil
}

// count returns the number of VMs, and how many of them are on.
func (f *foreign) count() (all, on int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, vm := range f.vms {
		all++
		if vm.on {
			on++
		}
	}
	return all, on
}

func TestForeignProvider(t *testing.T) {
	for _, tt := range []struct {
		name        string
		slow, uuids bool
	}{{"answers at once", false, false}, {"answers with tasks", true, false}, {"reports UUIDs", true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			f := newForeign()
			f.slow, f.uuids = tt.slow, tt.uuids
			w := newWorld(t, Backend{Name: "other", Client: servertest.Dial(t, f.register)})
			_, stop := w.start()
			w.request("one", class)
			w.request("two", class)
			for _, id := range []string{"one", "two"} {
				spec := w.provisioned(id)
				want := map[bool]string{true: "0a1b2c3d-0000-4000-8000-00000000000a"}[tt.uuids]
				if uuid := w.status(id).TypedSpec().Value.GetId(); spec.GetVmId() != "vm-"+id || uuid != want || spec.GetUuid() != want {
					t.Errorf("machine record %v, UUID in the status %q, want %q", spec, uuid, want)
				}
			}
			if all, on := f.count(); all != 2 || on != 2 || len(f.creates) != 2 || len(f.images) != 1 {
				t.Errorf("%d VMs, %d on, %d made, %d images", all, on, len(f.creates), len(f.images))
			}
			w.release("one")
			w.release("two")
			if all, _ := f.count(); all != 0 {
				t.Errorf("%d VMs are left", all)
			}
			stop()
		})
	}
}

// A machine gets its UUID although the provider did not respond when the machine was created.
func TestTheUUIDIsReportedLater(t *testing.T) {
	for name, slow := range map[string]bool{"answers at once": false, "answers with tasks": true} {
		t.Run(name, func(t *testing.T) {
			f := newForeign()
			f.slow, f.uuids = slow, true
			link := &link{about: func(method string) bool { return method == "Describe" }}
			w := newWorld(t, Backend{Name: "other", Client: servertest.Dial(t, f.register, link.option())})
			call := 1
			if slow {
				call = 2 // The first one is about the result of the task.
			}
			link.refuse(call, codes.Unavailable)
			_, stop := w.start()
			w.request("one", class)
			const want = "0a1b2c3d-0000-4000-8000-00000000000a"
			if spec := w.provisioned("one"); spec.GetUuid() != want || w.status("one").TypedSpec().Value.GetId() != want {
				t.Errorf("machine record %v, status %v", spec, w.status("one").TypedSpec().Value)
			}
			if all, on := f.count(); all != 1 || on != 1 || len(f.creates) != 1 {
				t.Errorf("%d VMs, %d on, %d made", all, on, len(f.creates))
			}
			w.release("one")
			stop()
		})
	}
}

func TestForeignProviderGetsPlainContract(t *testing.T) {
	f := newForeign()
	w := newWorld(t, Backend{Name: "other", Client: servertest.Dial(t, f.register)})
	_, stop := w.start()
	defer stop()
	w.request("one", class+"network_bridge: br0\nadditional_disks: [{size: 5}]\n")
	w.provisioned("one")
	req := f.creates[0]
	for _, tt := range []struct{ name, got, want string }{
		{"class", req.GetClassJson(), `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":10},"SecurityProfile":null}`},
		{"image", req.GetImageJson(), fmt.Sprintf(`{"Path":"/pool/talos-1.12.3-%s","Format":"raw"}`, w.note("one").TypedSpec().Value.GetSchematic()[:12])},
		{"networks", req.GetNetworksJson(), `[{"Name":"eth0","Bridge":"br0","VLAN":0,"Model":"virtio","StaticIP":"","Prefix":0,"Gateway":"","DNS":""}]`},
		{"disks", req.GetDisksJson(), `[{"SizeGiB":5,"Type":"thin","Name":"disk1"}]`},
		{"placement", req.GetPlacementJson(), `{"Datastore":"tank"}`},
		{"owner", req.GetOwner().GetUid(), "omni/truenas/one"},
		{"tags", strings.Join(req.GetTags(), " "), "omni-provider=truenas omni-at=omni.example"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}

// A provider that reports neither owners nor tags does not prove the owner of a machine. Only machines with recorded ids are
// removed.
func TestMachinesOfAnotherProviderAreNotOrphans(t *testing.T) {
	f := newForeign()
	f.vms["vm-stray"] = &foreignVM{req: &providerv1.CreateRequest{Name: "stray"}}
	w := newWorld(t, Backend{Name: "other", Client: servertest.Dial(t, f.register)})
	w.cfg.Orphans, w.cfg.OrphanGrace = RemoveOrphans, 1
	_, stop := w.start()
	w.request("one", class)
	w.provisioned("one")
	w.release("one")
	stop()
	if all, _ := f.count(); all != 1 {
		t.Errorf("%d VMs are left, want the stray one", all)
	}
}

func TestUnsupportedFeaturesAreRefused(t *testing.T) {
	f := newForeign()
	w := newWorld(t, Backend{Name: "other", Client: servertest.Dial(t, f.register)})
	_, stop := w.start()
	defer stop()
	for _, tt := range []struct{ name, class, want string }{
		{"thick", class + "disk_type: thick\n", "other offers no disks of disk_type thick, only thin"},
		{"vlan", class + "vlan: 20\n", "other offers no networks with a vlan, only bridge"},
	} {
		w.request(tt.name, tt.class)
		w.failed(tt.name, tt.want)
		w.release(tt.name)
	}
	if len(f.creates) != 0 {
		t.Errorf("%d VMs were made", len(f.creates))
	}
}
