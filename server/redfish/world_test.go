package redfish

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

const (
	webID   = "7b6aab24-6ddb-4bd1-9d36-7f1f4c4a9f01"
	storeID = "0d2c7d9c-9d8b-4c6f-8f0a-15f2f8e1a002"
	handID  = "c1a1b2c3-0000-4000-8000-000000000003"
)

// backend is a provider in memory. It records its calls.
type backend struct {
	providerv1.ProviderClient // RPCs that the service must not call

	mu         sync.Mutex
	vms        []*providerv1.VMInfo
	extensions string
	calls      []string
	fail       error // of the next change
	task       bool  // Off returns a task
	polls      int
	landing    int // number of Reconfigure calls that return a task first
}

func newBackend() *backend {
	return &backend{extensions: "dry-run,boot,media", vms: []*providerv1.VMInfo{
		{
			Id: webID, Name: "web-1", PowerState: "Off", Cpu: 4, MemoryMib: 6144,
			Disks:       []*providerv1.DiskInfo{{Id: "1", Path: "/dev/zvol/tank/v/vms/web_1/root", SizeGib: 20}, {Id: "2", Path: "", SizeGib: 5}},
			Networks:    []*providerv1.NetworkInfo{{Name: "br0", Mac: "02:AA:BB:CC:DD:01"}, {Name: "br1", Mac: "02:aa:bb:cc:dd:02"}},
			ProviderRaw: map[string]string{"bootloader": "UEFI", "secure_boot": "true", "managed": "true", "owner_namespace": "default"},
		},
		{Id: storeID, Name: "store-1", PowerState: "On", Cpu: 1, MemoryMib: 512, ProviderRaw: map[string]string{"bootloader": "UEFI_CSM", "managed": "true"}},
		{Id: handID, Name: "by-hand", PowerState: "On", Cpu: 1, MemoryMib: 512, ProviderRaw: map[string]string{"managed": "false"}},
	}}
}

func (b *backend) note(call string) error {
	b.calls = append(b.calls, call)
	err := b.fail
	b.fail = nil
	return err
}

func (b *backend) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}

func (b *backend) find(id string) *providerv1.VMInfo {
	for _, vm := range b.vms {
		if vm.Id == id {
			return vm
		}
	}
	return nil
}

func (b *backend) ListVMs(context.Context, *providerv1.ListVMsRequest, ...grpc.CallOption) (*providerv1.ListVMsResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &providerv1.ListVMsResponse{Vms: append([]*providerv1.VMInfo(nil), b.vms...)}, nil
}

func (b *backend) Describe(_ context.Context, req *providerv1.DescribeRequest, _ ...grpc.CallOption) (*providerv1.DescribeResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	vm := b.find(req.Id)
	if vm == nil {
		return &providerv1.DescribeResponse{}, nil
	}
	raw, err := json.Marshal(vm.ProviderRaw)
	return &providerv1.DescribeResponse{Exists: true, PowerState: vm.PowerState, ProviderRawJson: string(raw)}, err
}

func (b *backend) Power(_ context.Context, req *providerv1.PowerRequest, _ ...grpc.CallOption) (*providerv1.TaskResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.note(req.Op.String()); err != nil {
		return nil, err
	}
	vm := b.find(req.Id)
	switch req.Op {
	case providerv1.PowerOp_POWER_OP_ON:
		vm.PowerState = "On"
	case providerv1.PowerOp_POWER_OP_OFF, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL:
		vm.PowerState = "Off"
	}
	if b.task {
		b.polls = 2
		return &providerv1.TaskResponse{Task: &providerv1.TaskRef{Id: "t"}}, nil
	}
	return &providerv1.TaskResponse{}, nil
}

func (b *backend) TaskStatus(context.Context, *providerv1.TaskStatusRequest, ...grpc.CallOption) (*providerv1.TaskStatusResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.polls--
	return &providerv1.TaskStatusResponse{Done: b.polls <= 0}, b.note("TaskStatus")
}

// Reconfigure stores settings as the provider does.
func (b *backend) Reconfigure(_ context.Context, req *providerv1.ReconfigureRequest, _ ...grpc.CallOption) (*providerv1.TaskResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.note(req.DesiredJson); err != nil {
		return nil, err
	}
	var desired struct {
		Class struct{ ExtraConfig map[string]string }
	}
	if err := json.Unmarshal([]byte(req.DesiredJson), &desired); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if b.landing > 0 {
		b.landing--
		return &providerv1.TaskResponse{Task: &providerv1.TaskRef{Id: "image/tank/key"}}, nil
	}
	for key, value := range desired.Class.ExtraConfig {
		if value == none {
			value = ""
		}
		b.find(req.Id).ProviderRaw[strings.TrimPrefix(key, "truenas.io/")] = value
	}
	return &providerv1.TaskResponse{}, nil
}

func (b *backend) GetCapabilities(_ context.Context, _ *providerv1.GetCapabilitiesRequest, opts ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
	for _, opt := range opts {
		if header, ok := opt.(grpc.HeaderCallOption); ok {
			*header.HeaderAddr = metadata.Pairs(headerExtensions, b.extensions)
		}
	}
	return &providerv1.GetCapabilitiesResponse{}, nil
}

// clock is the clock of a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const password = "correct horse"

// hashed makes a hash of the least cost.
func hashed(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), minCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// hashedOnce is the hash of the password of all accounts.
var hashedOnce = sync.OnceValue(func() string {
	hash, _ := bcrypt.GenerateFromPassword([]byte(password), minCost) // A hash that is empty fails each test.
	return string(hash)
})

// world is a service in front of a backend.
type world struct {
	t       testing.TB
	backend *backend
	service *Service
	clock   *clock
	file    string
	url     string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, backend: newBackend(), clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, file: filepath.Join(t.TempDir(), "accounts.yaml")}
	hash := hashedOnce()
	w.accounts("accounts:\n" +
		"- {name: root, role: Administrator, password_hash: '" + hash + "'}\n" +
		"- {name: omni, password_hash: '" + hash + "', systems: [web-1]}\n" +
		"- {name: eve, role: ReadOnly, password_hash: '" + hash + "'}\n")
	var err error
	if w.service, err = New(Config{Provider: w.backend, Accounts: w.file, ID: "test", now: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w.service)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) accounts(text string) {
	w.t.Helper()
	if err := os.WriteFile(w.file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// reply is the response to a request.
type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// message is the MessageId of the first message, without the registry.
func (r reply) message() string {
	fault, _ := r.body["error"].(map[string]any)
	code, _ := fault["code"].(string)
	return strings.TrimPrefix(code, registry+".")
}

// as is a request of an account. Headers come in pairs.
func (w *world) as(account, method, path, body string, headers ...string) reply {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if account != "" {
		req.SetBasicAuth(account, password)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return w.do(req)
}

func (w *world) do(req *http.Request) reply {
	w.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // It was read.
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
	_ = json.Unmarshal(text, &r.body)
	return r
}

func (w *world) get(path string) reply {
	w.t.Helper()
	return w.as("root", http.MethodGet, path, "")
}
