package redfish

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// failing is a backend of which some calls fail, by the name of the RPC.
type failing struct {
	*backend
	errs   map[string]error
	raw    string // what Describe says instead of the VM's own raw data
	result string // the error of a task that has ended
	asks   int    // calls of GetCapabilities
	wait   int32  // the time of the last Power for the guest to shut down, in seconds
}

func (f *failing) Power(ctx context.Context, req *providerv1.PowerRequest, opts ...grpc.CallOption) (*providerv1.TaskResponse, error) {
	f.wait = req.GetGracefulTimeoutSeconds()
	return f.backend.Power(ctx, req, opts...)
}

// failing makes the service use a backend of which calls can fail.
func (w *world) failing() *failing {
	f := &failing{backend: w.backend, errs: map[string]error{}}
	w.service.provider.client = f
	return f
}

func (f *failing) ListVMs(ctx context.Context, req *providerv1.ListVMsRequest, opts ...grpc.CallOption) (*providerv1.ListVMsResponse, error) {
	if err := f.errs["ListVMs"]; err != nil {
		return nil, err
	}
	return f.backend.ListVMs(ctx, req, opts...)
}

func (f *failing) Describe(ctx context.Context, req *providerv1.DescribeRequest, opts ...grpc.CallOption) (*providerv1.DescribeResponse, error) {
	if err := f.errs["Describe"]; err != nil {
		return nil, err
	}
	resp, err := f.backend.Describe(ctx, req, opts...)
	if f.raw != "" {
		resp.ProviderRawJson = f.raw
	}
	return resp, err
}

func (f *failing) GetCapabilities(ctx context.Context, req *providerv1.GetCapabilitiesRequest, opts ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
	f.asks++
	if err := f.errs["GetCapabilities"]; err != nil {
		return nil, err
	}
	return f.backend.GetCapabilities(ctx, req, opts...)
}

func (f *failing) TaskStatus(ctx context.Context, req *providerv1.TaskStatusRequest, opts ...grpc.CallOption) (*providerv1.TaskStatusResponse, error) {
	if err := f.errs["TaskStatus"]; err != nil {
		return nil, err
	}
	if f.result != "" {
		return &providerv1.TaskStatusResponse{Done: true, Error: f.result}, nil
	}
	return f.backend.TaskStatus(ctx, req, opts...)
}

// A provider that does not answer makes the service unavailable. It never makes a system look absent, off or empty.
func TestProviderDoesNotAnswer(t *testing.T) {
	const systems, managers = "/redfish/v1/Systems", "/redfish/v1/Managers/"
	all := []struct{ method, path, body string }{
		{http.MethodGet, systems, ""},
		{http.MethodGet, "/redfish/v1/Chassis", ""},
		{http.MethodGet, systems + "/" + webID, ""},
		{http.MethodGet, systems + "/" + webID + "/Memory/DIMM0", ""},
		{http.MethodGet, systems + "/" + webID + "/ResetActionInfo", ""},
		{http.MethodPatch, systems + "/" + webID, `{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}`},
		{http.MethodPost, systems + "/" + webID + resetPath, `{"ResetType":"On"}`},
		{http.MethodPost, managers + webID + "/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia", `{"Image":"https://example.com/a.iso"}`},
		{http.MethodPost, managers + webID + "/VirtualMedia/Cd/Actions/VirtualMedia.EjectMedia", `{}`},
	}
	for rpc, from := range map[string]int{"ListVMs": 0, "Describe": 5, "GetCapabilities": 7} {
		w := newWorld(t)
		f := w.failing()
		f.errs[rpc] = status.Error(codes.Unavailable, "away")
		for _, tt := range all[from:] {
			if rpc == "GetCapabilities" && strings.HasSuffix(tt.path, resetPath) {
				continue
			}
			r := w.as("root", tt.method, tt.path, tt.body, "If-Match", "*")
			if r.status != http.StatusServiceUnavailable || r.message() != "ServiceTemporarilyUnavailable" {
				t.Errorf("%s fails, %s %s: %d %s", rpc, tt.method, tt.path, r.status, r.text)
			}
		}
		if calls := w.backend.asked(); len(calls) > 0 {
			t.Errorf("%s fails: the provider got the calls %q", rpc, calls)
		}
	}
}

// Only a graceful shutdown leaves the guest time.
func TestTimeToShutDown(t *testing.T) {
	w := newWorld(t)
	f := w.failing()
	for kind, want := range map[string]int32{"On": 0, "ForceOff": 0, "GracefulRestart": 0, "GracefulShutdown": gracefulSeconds} {
		if r := w.reset(storeID, kind); r.status != http.StatusNoContent || f.wait != want {
			t.Errorf("%s: %d, and the guest has %d seconds", kind, r.status, f.wait)
		}
		w.backend.vms[1].PowerState = "On"
	}
}

// The extensions of a provider are remembered, a failed query for them is not.
func TestExtensionsAreQueriedOnce(t *testing.T) {
	w := newWorld(t)
	f := w.failing()
	f.errs["GetCapabilities"] = status.Error(codes.Unavailable, "away")
	const body = `{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}`
	for i, want := range []int{http.StatusServiceUnavailable, http.StatusOK, http.StatusOK} {
		if r := w.patch(body); r.status != want {
			t.Errorf("request %d: %d %s", i, r.status, r.text)
		}
		f.errs = nil
	}
	if f.asks != 2 {
		t.Errorf("queried %d times", f.asks)
	}
}

// A task of the provider that fails, or whose state is unknown, fails the request: the steps after it are not taken.
func TestTasksThatFail(t *testing.T) {
	for _, tt := range []struct {
		name     string
		set      func(*failing)
		patience time.Duration
		status   int
		text     string
	}{
		{"the task fails", func(f *failing) { f.result = "the VM does not stop" }, changeTimeout, http.StatusInternalServerError, "the VM does not stop"},
		{"its state is unknown", func(f *failing) { f.errs["TaskStatus"] = status.Error(codes.NotFound, "no task t") }, changeTimeout, http.StatusNotFound, "no task t"},
		{"it takes too long", func(*failing) {}, time.Millisecond, http.StatusServiceUnavailable, "Retry in 5 seconds"},
	} {
		w := newWorld(t)
		w.backend.task, w.backend.landing, w.service.patience = true, 1, tt.patience
		tt.set(w.failing())
		r := w.reset(storeID, "PowerCycle")
		calls := w.backend.asked()
		if r.status != tt.status || !strings.Contains(r.text, tt.text) || calls[0] != off || slices.Contains(calls, on) {
			t.Errorf("%s: reset: %d %s, %q", tt.name, r.status, r.text, calls)
		}
		r = w.as("root", http.MethodPost, "/redfish/v1/Managers/"+webID+"/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia", `{"Image":"https://example.com/a.iso"}`)
		if r.status != tt.status || !strings.Contains(r.text, tt.text) || w.backend.vms[0].ProviderRaw["media"] != "" {
			t.Errorf("%s: insert: %d %s", tt.name, r.status, r.text)
		}
	}
}

// The codes that the table of single changes does not have: each is answered as its neighbor.
func TestCodesOfTheProvider(t *testing.T) {
	s := newWorld(t).service
	for code, want := range map[codes.Code]int{
		codes.AlreadyExists: http.StatusConflict, codes.OutOfRange: http.StatusBadRequest, codes.Canceled: http.StatusServiceUnavailable,
	} {
		if got := s.providerFault(status.Error(code, "why")).status(); got != want {
			t.Errorf("%v: %d, want %d", code, got, want)
		}
	}
}

// A system that ends between the list and the request is absent at once, and so is it in the list.
func TestSystemThatIsGone(t *testing.T) {
	w := newWorld(t)
	w.get("/redfish/v1/Systems")
	w.backend.vms = w.backend.vms[1:]
	if r := w.reset(webID, "On"); r.status != http.StatusNotFound || r.message() != "ResourceMissingAtURI" {
		t.Errorf("reset: %d %s", r.status, r.text)
	}
	if r := w.get("/redfish/v1/Systems"); strings.Contains(r.text, webID) {
		t.Errorf("the list still has it: %s", r.text)
	}
	if calls := w.backend.asked(); len(calls) > 0 {
		t.Errorf("the provider got the calls %q", calls)
	}
}

// A system that is new is found by its id a second after the last list at the latest, although lists are remembered for longer.
func TestNewSystemIsFound(t *testing.T) {
	w := newWorld(t)
	w.get("/redfish/v1/Systems")
	const newID = "4f0f3c1e-0000-4000-8000-000000000004"
	w.backend.vms = append(w.backend.vms, &providerv1.VMInfo{Id: newID, Name: "new"})
	w.clock.pass(time.Second)
	if r := w.get("/redfish/v1/Systems/" + newID); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.text)
	}
}

// Raw data of the provider may hold anything; only texts count.
func TestRawData(t *testing.T) {
	w := newWorld(t)
	f := w.failing()
	for raw, mode := range map[string]string{
		`{"bootloader":"UEFI_CSM","cores":4,"tags":["a"]}`: "Legacy",
		`{"bootloader":7}`: "UEFI", // as in the list
		`not JSON`:         "UEFI",
	} {
		f.raw = raw
		r := w.get("/redfish/v1/Systems/" + webID)
		if boot, _ := r.body["Boot"].(map[string]any); r.status != http.StatusOK || boot["BootSourceOverrideMode"] != mode {
			t.Errorf("%s: %d %s", raw, r.status, r.text)
		}
	}
}
