package conformance

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// pollInterval is the time between two polls; settle is the time limit of a change. TrueNAS waits for a guest without a handler of
// the power button until the VM's shutdown timeout, so a task may take minutes.
const (
	pollInterval = 100 * time.Millisecond
	settle       = 5 * time.Minute
)

// The two power states that the manager knows.
const (
	stateOn  = "On"
	stateOff = "Off"
)

// checker is one running check.
type checker struct {
	*testing.T
	target Target
	offers *providerv1.GetCapabilitiesResponse
}

// sub runs a part of a check as a subtest.
func (c *checker) sub(name string, run func(*checker)) {
	c.Run(name, func(t *testing.T) {
		t.Helper()
		run(&checker{T: t, target: c.target, offers: c.offers})
	})
}

// name returns a name for a VM that no other run uses.
func (c *checker) name(what string) string { return c.target.Prefix + "-" + what }

// create makes a VM, registers its removal and returns its id.
func (c *checker) create(req *providerv1.CreateRequest) string {
	c.Helper()
	resp, err := c.tryCreate(req)
	if err != nil {
		c.Fatalf("Create %q: %v", req.GetName(), err)
	}
	c.finish(resp.GetTask())
	if resp.GetId() == "" {
		c.Fatalf("Create %q returns no id", req.GetName())
	}
	return resp.GetId()
}

// tryCreate requests a VM; the request may fail.
func (c *checker) tryCreate(req *providerv1.CreateRequest) (*providerv1.CreateResponse, error) {
	resp, err := call(c, c.target.Client.Create, req)
	if id := resp.GetId(); id != "" {
		c.Cleanup(func() { c.remove(id) })
	}
	return resp, err
}

// remove deletes a VM. It expects no task, because the manager polls no task of a Delete.
func (c *checker) remove(id string) {
	c.Helper()
	if _, err := call(c, c.target.Client.Delete, &providerv1.DeleteRequest{Id: id}); err != nil {
		c.Errorf("Delete %s: %v", id, err)
	}
}

func (c *checker) describe(id string) *providerv1.DescribeResponse {
	c.Helper()
	resp, err := call(c, c.target.Client.Describe, &providerv1.DescribeRequest{Id: id})
	if err != nil {
		c.Fatalf("Describe %q: %v", id, err)
	}
	return resp
}

// power requests a power operation that has to succeed, and waits for its task.
func (c *checker) power(id string, op providerv1.PowerOp) {
	c.Helper()
	resp, err := call(c, c.target.Client.Power, &providerv1.PowerRequest{Id: id, Op: op, GracefulTimeoutSeconds: graceSeconds})
	if err != nil {
		c.Fatalf("Power %v: %v", op, err)
	}
	c.finish(resp.GetTask())
}

// finish waits for a task as the manager does. A task of a VM must never report an error, because the manager would keep it
// forever.
func (c *checker) finish(task *providerv1.TaskRef) {
	c.Helper()
	if task.GetId() == "" {
		return
	}
	c.until("task "+task.GetId()+" is done", func() bool {
		resp, err := call(c, c.target.Client.TaskStatus, &providerv1.TaskStatusRequest{Task: task})
		if err != nil || resp.GetError() != "" {
			c.Fatalf("TaskStatus %q: error %q, %v", task.GetId(), resp.GetError(), err)
		}
		return resp.GetDone()
	})
}

// await waits until Describe reports a power state.
func (c *checker) await(id, state string) {
	c.Helper()
	c.until("Describe says "+state, func() bool {
		vm := c.describe(id)
		if !vm.GetExists() || (vm.GetPowerState() != stateOn && vm.GetPowerState() != stateOff) {
			c.Fatalf("Describe %s: exists=%t, power state %q", id, vm.GetExists(), vm.GetPowerState())
		}
		return vm.GetPowerState() == state
	})
}

func (c *checker) until(what string, met func() bool) {
	c.Helper()
	for give := time.Now().Add(settle); !met(); time.Sleep(pollInterval) {
		if time.Now().After(give) {
			c.Fatalf("timeout after %v: %s", settle, what)
		}
	}
}

// listed returns the VM of that name in ListVMs, or nil.
func (c *checker) listed(name string) *providerv1.VMInfo {
	c.Helper()
	resp, err := call(c, c.target.Client.ListVMs, &providerv1.ListVMsRequest{})
	if err != nil {
		c.Fatalf("ListVMs: %v", err)
	}
	var found *providerv1.VMInfo
	for _, vm := range resp.GetVms() {
		if vm.GetName() != name {
			continue
		}
		if found != nil {
			c.Fatalf("ListVMs has %q twice, with ids %s and %s", name, found.GetId(), vm.GetId())
		}
		found = vm
	}
	return found
}

// sweep removes the VMs of this run whose ids no check has received.
func (c *checker) sweep() {
	resp, err := call(c, c.target.Client.ListVMs, &providerv1.ListVMsRequest{})
	if status.Code(err) == codes.Unimplemented {
		return
	}
	for _, vm := range resp.GetVms() {
		if strings.HasPrefix(vm.GetName(), c.target.Prefix) {
			c.Errorf("VM %q was left behind", vm.GetName())
			c.remove(vm.GetId())
		}
	}
}
