package conformance

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/conformance/manager04"
)

// checkLine04 checks the additions of line 0.4 of the manager. All other checks use requests that both lines send.
func checkLine04(c *checker) {
	c.sub("single host", checkSingleHost)
	c.sub("life", checkLife04)
	c.sub("namespaces", checkNamespaces)
	c.sub("snapshot token", checkToken)
	c.sub("clone target", checkCloneTarget)
	c.sub("restart required", checkRestartRequired)
	c.sub("artifacts", checkArtifacts)
	c.sub("artifact requests", checkArtifactRequests)
	c.sub("unknown future fields", checkUnknownFields)
}

// checkSingleHost expects that a provider without clustering refuses and returns no hosts.
func checkSingleHost(c *checker) {
	if c.offers.GetSupportsClustering() {
		return
	}
	if c.offers.GetSupportsRoutedClone() || c.offers.GetSupportsRoutedAdoption() || c.offers.GetSupportsListOwnerFilter() {
		c.Errorf("without clustering, %v is offered", c.offers)
	}
	list := c.must(call(c, c.target.Client.ListVMs, &providerv1.ListVMsRequest{OwnerNamespace: "no", OwnerName: "body"})).(*providerv1.ListVMsResponse)
	if list.GetOwnerFilterApplied() || len(list.GetUnreachableHostIds()) > 0 {
		c.Errorf("ListVMs returns owner_filter_applied=%t and the hosts %v", list.GetOwnerFilterApplied(), list.GetUnreachableHostIds())
	}
	_, err := call(c, c.target.Client.Describe, &providerv1.DescribeRequest{Id: noSuchVMs[0], TargetHostId: "host-2"})
	c.refused("a request for a host", err, codes.InvalidArgument, codes.Unimplemented)
}

// newer returns a VM of a manager of line 0.4.
func (c *checker) newer(namespace, what string) *manager04.VM {
	name := c.name(what)
	vm := &manager04.VM{UID: "uid-" + namespace + "-" + name, Namespace: namespace, Name: name, CPU: 1, MemoryMiB: 256, Firmware: "UEFI", Pool: c.target.Pool}
	if c.target.Image == "" {
		vm.RootGiB = 1
	} else {
		vm.Image = &manager04.Image{Path: c.target.Image}
	}
	if c.target.Network != "" {
		vm.Networks = []map[string]any{{"Name": "eth0", "Bridge": c.target.Network, "Model": "virtio"}}
	}
	return vm
}

// reconcile lets the manager work on a VM until a condition has one of the reasons. It waits less than the manager does.
func (c *checker) reconcile(m *manager04.Manager, vm *manager04.VM, reasons ...string) manager04.Next {
	c.Helper()
	var next manager04.Next
	c.until("the VM is "+strings.Join(reasons, " or "), func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		known := vm.ID
		next = m.Reconcile(ctx, vm)
		if vm.ID != "" && vm.ID != known {
			id := vm.ID
			c.Cleanup(func() { c.remove(id) })
		}
		for _, reason := range reasons {
			if next.Reason == reason {
				return true
			}
		}
		if next.Err != nil {
			c.Fatalf("the VM is %s: %v", next.Reason, next.Err)
		}
		return false
	})
	return next
}

// checkLife04 lets the manager make, power, describe and delete a VM.
func checkLife04(c *checker) {
	m, vm := manager04.New(c.target.Client), c.newer("team-a", "life")
	vm.On = true
	c.reconcile(m, vm, manager04.Ready)
	if got := c.describe(vm.ID); got.GetMaxMemoryMib() != 256 || got.GetVcpus() != 1 {
		c.Errorf("Describe returns %d MiB and %d CPUs, want 256 and 1", got.GetMaxMemoryMib(), got.GetVcpus())
	}
	if got := c.listed(vm.Name).GetProviderRaw()["owner_uid"]; got != vm.UID {
		c.Errorf("ListVMs has the owner_uid %q, want %q", got, vm.UID)
	}
	vm.On = false
	c.reconcile(m, vm, manager04.Ready)
	for range 2 { // The second Delete is of an absent VM.
		id := vm.ID
		if next := m.Delete(context.Background(), vm); next.Reason != manager04.Deleted {
			c.Fatalf("it is %s: %v", next.Reason, next.Err)
		}
		vm.ID = id
	}
	if m.Failures != 0 {
		c.Errorf("the circuit breaker counts %d failures", m.Failures)
	}
}

// checkNamespaces makes two VMs with one name in two namespaces. A provider may refuse the second one, but must never return the
// first.
func checkNamespaces(c *checker) {
	m := manager04.New(c.target.Client)
	first, second := c.newer("team-a", "twice"), c.newer("team-b", "twice")
	c.reconcile(m, first, manager04.Ready)
	c.reconcile(m, second, manager04.Ready, manager04.ProviderConflict)
	if first.ID == second.ID {
		c.Errorf("both have the id %s", first.ID)
	}
}

// checkToken repeats a snapshot request with the same token and with another one.
func checkToken(c *checker) {
	if !c.offers.GetSupportsSnapshots() {
		return
	}
	m, vm := manager04.New(c.target.Client), c.newer("team-a", "token")
	c.reconcile(m, vm, manager04.Ready)
	take := func(token string) error {
		resp, err := call(c, c.target.Client.SnapshotCreate, &providerv1.SnapshotCreateRequest{VmId: vm.ID, NameHint: "s", RequestToken: token})
		c.finish(resp.GetTask())
		return err
	}
	for range 2 {
		if err := take("uid-1"); err != nil {
			c.Errorf("the same request: %v", err)
		}
	}
	c.refused("another request with the same name", take("uid-2"), codes.AlreadyExists)
}

// checkCloneTarget makes two clones with one name for two namespaces.
func checkCloneTarget(c *checker) {
	if !c.offers.GetSupportsLinkedClones() {
		return
	}
	m, vm := manager04.New(c.target.Client), c.newer("team-a", "cloned")
	c.reconcile(m, vm, manager04.Ready)
	ids := map[string]string{}
	for _, namespace := range []string{"team-a", "team-b", "team-a"} {
		resp, err := call(c, c.target.Client.Clone, &providerv1.CloneRequest{
			SourceVmId: vm.ID, TargetName: c.name("copy"), Linked: true, TargetVm: &providerv1.ObjectIdentity{Namespace: namespace, Name: c.name("copy")},
		})
		if err != nil {
			c.Fatalf("a clone for %s: %v", namespace, err)
		}
		c.finish(resp.GetTask())
		id := resp.GetTargetVmId()
		if was := ids[namespace]; was != "" && was != id {
			c.Errorf("repeated, the clone has the id %s, before %s", id, was)
		} else if was == "" {
			c.Cleanup(func() { c.remove(id) })
		}
		ids[namespace] = id
	}
	if ids["team-a"] == ids["team-b"] {
		c.Errorf("both clones have the id %s", ids["team-a"])
	}
	list := c.must(call(c, c.target.Client.ListVMs, &providerv1.ListVMsRequest{})).(*providerv1.ListVMsResponse)
	for _, listed := range list.GetVms() {
		if listed.GetId() == ids["team-a"] && listed.GetProviderRaw()["owner_uid"] != "" {
			c.Errorf("the clone has the owner %q, which its source has", listed.GetProviderRaw()["owner_uid"])
		}
	}
}

// checkRestartRequired resizes a running VM.
func checkRestartRequired(c *checker) {
	if !c.offers.GetSupportsHonestReconfigure() {
		return
	}
	m, vm := manager04.New(c.target.Client), c.newer("team-a", "resized")
	vm.On = true
	c.reconcile(m, vm, manager04.Ready)
	vm.CPU = 2
	next := c.reconcile(m, vm, manager04.Ready, manager04.RestartRequired)
	for range 2 {
		if next.Reason != manager04.RestartRequired {
			return // The provider has applied the change to the running VM.
		}
		next = c.reconcile(m, vm, manager04.Ready, manager04.RestartRequired)
	}
	if next.Reason != manager04.RestartRequired {
		c.Errorf("the VM was not powered off, and the change counts as applied")
	}
	c.power(vm.ID, providerv1.PowerOp_POWER_OP_OFF)
	c.await(vm.ID, stateOff)
	c.reconcile(m, vm, manager04.Ready)
	if got := c.describe(vm.ID).GetVcpus(); got != 2 {
		c.Errorf("after off and on the VM has %d CPUs, want 2", got)
	}
}

// checkUnknownFields sends fields that a newer manager may have. The provider must accept empty fields, and must not ignore a field
// with a value.
func checkUnknownFields(c *checker) {
	req := c.plain(c.name("to-come"))
	req.ClassJson = strings.TrimSuffix(req.GetClassJson(), "}") + `,"Spare":{"A":"","B":[],"C":{"D":0}}}`
	c.create(req)
	req.ClassJson = strings.Replace(req.GetClassJson(), `"D":0`, `"D":1`, 1)
	_, err := c.tryCreate(req)
	c.refused("an unknown setting", err, codes.InvalidArgument)
	if !strings.Contains(status.Convert(err).Message(), "Spare") {
		c.Errorf("%v does not name the setting", err)
	}
}
