package manager04

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// VM is a VirtualMachine with its class, its image and its networks.
type VM struct {
	UID, Namespace, Name string
	CPU, MemoryMiB       int
	RootGiB              int
	Firmware             string
	Image                *Image
	ImportedDisk         bool // Image.Path is the disk that this VM's migration imported
	Networks             []map[string]any
	Pool                 string
	On                   bool // the desired power state

	// The manager's record of the provider's responses.
	ID         string
	PowerState string
	cpu, mib   int // as the provider last reported them
	task       *providerv1.TaskRef
	failures   int
}

func (vm *VM) owner() *providerv1.ObjectIdentity {
	return &providerv1.ObjectIdentity{Uid: vm.UID, Namespace: vm.Namespace, Name: vm.Name}
}

func (vm *VM) class() map[string]any {
	class := map[string]any{
		"CPU": vm.CPU, "MemoryMiB": vm.MemoryMiB, "Firmware": vm.Firmware, "DiskDefaults": nil, "GuestToolsPolicy": "install",
		"ExtraConfig": nil, "PerformanceProfile": nil, "SecurityProfile": nil, "ResourceLimits": nil,
	}
	if vm.RootGiB > 0 {
		class["DiskDefaults"] = map[string]any{"Type": "thin", "SizeGiB": vm.RootGiB}
	}
	return class
}

func (vm *VM) placement() any {
	if vm.Pool == "" {
		return nil
	}
	return map[string]any{"Datastore": vm.Pool, "StoragePod": "", "Cluster": "", "Folder": "", "Host": ""}
}

// Create returns the Create request for the VM.
func (vm *VM) Create() *providerv1.CreateRequest {
	req := &providerv1.CreateRequest{
		Name: vm.Name, Owner: vm.owner(), ClassJson: marshal(vm.class()), ImageJson: marshal(vm.Image.reference(vm.ImportedDisk)),
		NetworksJson: marshal(vm.Networks), DisksJson: "null",
	}
	if p := vm.placement(); p != nil {
		req.PlacementJson = marshal(p)
	}
	return req
}

// desired returns desired_json: all fields, with the keys of this line.
func (vm *VM) desired() string {
	return marshal(map[string]any{
		"Name": vm.Name, "Class": vm.class(), "Image": vm.Image.reference(vm.ImportedDisk), "Networks": vm.Networks, "Disks": nil,
		"UserData": nil, "MetaData": nil, "Placement": vm.placement(), "Tags": nil, "TargetHostID": "",
		"Owner": map[string]any{"UID": vm.UID, "Namespace": vm.Namespace, "Name": vm.Name},
	})
}

// Reconcile makes one step towards the desired VM.
func (m *Manager) Reconcile(ctx context.Context, vm *VM) Next {
	if m.offers == nil {
		if err := m.Look(ctx); err != nil {
			return Next{After: hold, Reason: ProviderError, Err: err}
		}
	}
	if vm.task != nil {
		if done, failure := m.finished(ctx, vm.task); !done || failure != "" {
			return Next{After: pollTask, Reason: Creating} // The manager keeps a VM's failed task forever.
		}
		vm.task = nil
	}
	if vm.ID == "" {
		return m.create(ctx, vm)
	}
	return m.converge(ctx, vm)
}

func (m *Manager) create(ctx context.Context, vm *VM) Next {
	if vm.Image != nil {
		if next := m.Prepare(ctx, vm.Image); !next.Done() {
			return next
		}
	}
	resp, err := m.Client.Create(ctx, vm.Create())
	m.count(err)
	switch status.Code(err) {
	case codes.OK:
	case codes.InvalidArgument:
		return Next{After: hold, Reason: ValidationError, Err: err}
	case codes.AlreadyExists:
		return Next{After: 2 * time.Minute, Reason: ProviderConflict, Err: err}
	default:
		return Next{After: again, Reason: ProviderError, Err: err}
	}
	vm.ID, vm.cpu, vm.mib = resp.GetId(), vm.CPU, vm.MemoryMiB
	if resp.GetTask().GetId() != "" {
		vm.task = resp.GetTask()
	}
	return Next{After: again, Reason: Creating}
}

// converge describes the VM, and powers and resizes it as needed.
func (m *Manager) converge(ctx context.Context, vm *VM) Next {
	now, err := m.Client.Describe(ctx, &providerv1.DescribeRequest{Id: vm.ID})
	m.count(err)
	switch {
	case err != nil:
		return Next{After: again, Reason: ProviderError, Err: err}
	case !now.GetExists():
		vm.ID = "" // The next step creates the VM again.
		return Next{After: again, Reason: Creating}
	}
	vm.PowerState = known(now.GetPowerState())
	if vm.PowerState == "Suspended" || vm.PowerState == "Unknown" {
		return Next{After: hold, Reason: PowerStateUnmanaged}
	}
	if want := map[bool]string{true: "On", false: "Off"}[vm.On]; vm.PowerState != want {
		return m.power(ctx, vm)
	}
	if next := m.resize(ctx, vm); !next.Done() {
		return next
	}
	return Next{After: 10 * time.Second, Reason: Ready}
}

// known returns the power state as the manager stores it: any other text becomes Unknown.
func known(state string) string {
	switch state {
	case "On", "Off", "Suspended":
		return state
	}
	return "Unknown"
}

func (m *Manager) power(ctx context.Context, vm *VM) Next {
	op := map[bool]providerv1.PowerOp{true: providerv1.PowerOp_POWER_OP_ON, false: providerv1.PowerOp_POWER_OP_OFF}[vm.On]
	resp, err := m.Client.Power(ctx, &providerv1.PowerRequest{Id: vm.ID, Op: op})
	m.count(err)
	if err != nil {
		return Next{After: again, Reason: ProviderError, Err: err}
	}
	if resp.GetTask().GetId() != "" {
		vm.task = resp.GetTask()
	}
	return Next{After: again, Reason: Powering}
}

// resize sends the desired VM until a reply reports it as applied. Only a change of CPUs or memory causes a call.
func (m *Manager) resize(ctx context.Context, vm *VM) Next {
	if vm.cpu == vm.CPU && vm.mib == vm.MemoryMiB {
		return Next{Reason: Ready}
	}
	resp, err := m.Client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: vm.ID, DesiredJson: vm.desired()})
	m.count(err)
	if err != nil {
		after := min(again<<vm.failures, 5*time.Minute)
		vm.failures = min(vm.failures+1, 6)
		return Next{After: after, Reason: ProviderError, Err: err}
	}
	vm.failures = 0
	if m.offers.GetSupportsHonestReconfigure() && resp.GetRestartRequired() {
		return Next{After: 2 * time.Minute, Reason: RestartRequired}
	}
	vm.cpu, vm.mib = vm.CPU, vm.MemoryMiB
	return Next{Reason: Ready}
}

// Delete removes the VM. The finalizer stays until the call succeeds.
func (m *Manager) Delete(ctx context.Context, vm *VM) Next {
	if vm.ID == "" {
		return Next{Reason: Deleted} // The manager makes no call.
	}
	_, err := m.Client.Delete(ctx, &providerv1.DeleteRequest{Id: vm.ID})
	m.count(err)
	switch {
	case err == nil, status.Code(err) == codes.NotFound:
		vm.ID = ""
		return Next{Reason: Deleted}
	case Reason(err) == vmDiskInUse:
		return Next{After: time.Minute, Reason: DeleteBlocked, Err: err}
	}
	return Next{After: 15 * time.Second, Reason: ProviderError, Err: err}
}
