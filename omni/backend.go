package omni

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Timeouts of calls, those of VirtRigaud's manager.
const (
	taskTimeout     = 10 * time.Second
	askTimeout      = 30 * time.Second
	deleteTimeout   = 2 * time.Minute
	createTimeout   = 5 * time.Minute
	validateTimeout = 8 * time.Second
)

// Backend is a provider that creates machines.
type Backend struct {
	Name          string // in machine classes and in Omni's texts
	FailureDomain string // machines that fail together, such as those of a rack; empty: the name
	Client        providerv1.ProviderClient
}

// backend is a provider of the contract. It caches responses briefly, so that concurrent requests share one call.
type backend struct {
	name   string
	domain string // its failure domain
	client providerv1.ProviderClient

	mu         sync.Mutex
	can        *providerv1.GetCapabilitiesResponse
	canRead    time.Time            // when it was read
	extensions []string             // that its capabilities list
	settings   []string             // hardware settings that it supports
	accepted   map[string]time.Time // time at which a dry run accepted each set of networks and hardware
	vms        []*providerv1.VMInfo
	listed     time.Time
	freeMiB    int64 // of memory; negative: unknown
	freeRead   time.Time

	trouble error // result of the last health check
	checked time.Time
}

// call makes one RPC with a timeout. Its errors name the backend.
func call[Req, Resp any, Opt any](ctx context.Context, b *backend, timeout time.Duration, rpc func(context.Context, Req, ...Opt) (Resp, error), req Req) (Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	resp, err := rpc(ctx, req)
	return resp, from(b, err)
}

// validate returns an error when the backend cannot be used or cannot reach its NAS.
func (b *backend) validate(ctx context.Context) error {
	resp, err := call(ctx, b, validateTimeout, b.client.Validate, &providerv1.ValidateRequest{})
	switch {
	case err != nil:
		text, _ := userText(err)
		return operatorFault{text}
	case !resp.GetOk():
		return operatorFault{b.name + " cannot be used: " + resp.GetMessage()}
	case strings.HasPrefix(resp.GetMessage(), "degraded"):
		return operatorFault{b.name + " cannot be reached at the moment (" + resp.GetMessage() + ")"}
	}
	return nil
}

// capabilities returns the capabilities of the backend. It reads them again after [checkedAge], because a backend may be updated,
// and keeps the last result if the read fails.
func (b *backend) capabilities(ctx context.Context) (*providerv1.GetCapabilitiesResponse, error) {
	b.mu.Lock()
	known, fresh := b.can, time.Since(b.canRead) < checkedAge
	b.mu.Unlock()
	if known != nil && fresh {
		return known, nil
	}
	can, extensions, settings, err := b.readCapabilities(ctx)
	switch {
	case err != nil && known != nil:
		return known, nil
	case err != nil:
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.can, b.extensions, b.settings, b.canRead = can, extensions, settings, time.Now()
	return can, nil
}

// checkSupport returns an error when the backend's capabilities rule out a machine of the class.
func (b *backend) checkSupport(ctx context.Context, c Class) error {
	can, err := b.capabilities(ctx)
	if err != nil {
		return err
	}
	types, networks := can.GetSupportedDiskTypes(), can.GetSupportedNetworkTypes()
	switch {
	case !can.GetSupportsImageImport():
		return refusal("%s cannot import images, and Talos comes as one", b.name)
	case c.DiskType != "" && len(types) > 0 && !slices.Contains(types, c.DiskType):
		return refusal("%s offers no disks of disk_type %s, only %s", b.name, c.DiskType, strings.Join(types, " and "))
	}
	for _, d := range c.Disks {
		if d.Type != "" && len(types) > 0 && !slices.Contains(types, d.Type) {
			return refusal("%s offers no additional_disks of type %s, only %s", b.name, d.Type, strings.Join(types, " and "))
		}
		if d.Pool != "" && !b.hasExtension(extensionDiskPools) {
			return refusal("%s does not know the setting pool of additional_disks; update it, or leave the setting out", b.name)
		}
	}
	for _, n := range c.nics() {
		if n.VLAN != 0 && len(networks) > 0 && !slices.Contains(networks, "vlan") {
			return refusal("%s offers no networks with a vlan, only %s", b.name, strings.Join(networks, " and "))
		}
	}
	return b.knowsHardware(c)
}

// list returns the backend's machines, from the cache if it is younger than age. An age of 0 skips the cache.
func (b *backend) list(ctx context.Context, age time.Duration) ([]*providerv1.VMInfo, error) {
	b.mu.Lock()
	vms, fresh := b.vms, age > 0 && time.Since(b.listed) < age
	b.mu.Unlock()
	if fresh {
		return vms, nil
	}
	resp, err := call(ctx, b, deleteTimeout, b.client.ListVMs, &providerv1.ListVMsRequest{})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.vms, b.listed = resp.GetVms(), time.Now()
	return b.vms, nil
}

// describe returns a machine's state. A machine that does not exist is a result, not an error.
func (b *backend) describe(ctx context.Context, id string) (*providerv1.DescribeResponse, error) {
	return call(ctx, b, askTimeout, b.client.Describe, &providerv1.DescribeRequest{Id: id})
}

func (b *backend) power(ctx context.Context, id string, op providerv1.PowerOp, graceful time.Duration) (*providerv1.TaskResponse, error) {
	req := &providerv1.PowerRequest{Id: id, Op: op, GracefulTimeoutSeconds: int32(graceful / time.Second)} //nolint:gosec // Seconds to minutes.
	return call(ctx, b, deleteTimeout, b.client.Power, req)
}

// taskDone reports whether a task has ended. The error is that of the failed task.
func (b *backend) taskDone(ctx context.Context, id string) (bool, error) {
	done, _, err := b.taskStatus(ctx, id)
	return done, err
}

// taskStatus is taskDone with the task's progress as text, which is empty when the backend does not report it.
func (b *backend) taskStatus(ctx context.Context, id string) (done bool, progress string, err error) {
	var header metadata.MD
	resp, err := call(ctx, b, taskTimeout, func(ctx context.Context, req *providerv1.TaskStatusRequest, opts ...grpc.CallOption) (*providerv1.TaskStatusResponse, error) {
		return b.client.TaskStatus(ctx, req, append(opts, grpc.Header(&header))...)
	}, &providerv1.TaskStatusRequest{Task: &providerv1.TaskRef{Id: id}})
	switch {
	case err != nil:
		return false, "", err
	case resp.GetError() != "":
		return true, "", operatorFault{b.name + " failed: " + resp.GetError()}
	}
	return resp.GetDone(), strings.Join(header.Get(headerProgress), ""), nil
}
