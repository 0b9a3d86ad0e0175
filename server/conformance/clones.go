package conformance

import (
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkClones makes two clones of a VM, and deletes the VM before the clones.
func checkClones(c *checker) {
	for _, linked := range []bool{true, false} {
		name := map[bool]string{true: "linked", false: "full"}[linked]
		c.sub(name, func(c *checker) { checkClone(c, name, linked) })
	}
	if !c.offers.GetSupportsLinkedClones() {
		return
	}
	for _, none := range noSuchVMs {
		_, err := call(c, c.target.Client.Clone, &providerv1.CloneRequest{SourceVmId: none, TargetName: c.name("of-nothing"), Linked: true})
		c.refused("Clone of a VM that does not exist", err, codes.NotFound)
	}
}

func checkClone(c *checker, name string, linked bool) {
	source := c.create(c.plain(c.name(name + "-source")))
	req := &providerv1.CloneRequest{SourceVmId: source, TargetName: c.name(name + "-copy"), Linked: linked, CustomizeJson: `{"hostname":"copy"}`}
	id, err := c.clone(req)
	if err != nil && (!linked || !c.offers.GetSupportsLinkedClones()) {
		// No capability covers full clones: a provider may support none, or not for this VM.
		c.refused("Clone", err, codes.Unimplemented, codes.FailedPrecondition)
		return
	}
	if err != nil || id == "" || id == source {
		c.Fatalf("Clone of %s: id %q, %v", source, id, err)
	}
	if again, err := c.clone(req); err != nil || again != id {
		c.Errorf("Clone again: id %q, %v; before %q", again, err, id)
	}
	c.await(id, stateOff)
	if vm := c.listed(req.GetTargetName()); vm.GetId() != id || len(vm.GetDisks()) == 0 {
		c.Errorf("the clone is listed as %v; its id is %s", vm, id)
	}
	c.remove(source)
	if !c.describe(id).GetExists() {
		c.Error("the clone is gone with its source")
	}
	c.power(id, providerv1.PowerOp_POWER_OP_ON)
	c.await(id, stateOn)
}

// clone makes a clone, waits for it and registers its removal.
func (c *checker) clone(req *providerv1.CloneRequest) (string, error) {
	c.Helper()
	resp, err := call(c, c.target.Client.Clone, req)
	if id := resp.GetTargetVmId(); id != "" {
		c.Cleanup(func() { c.remove(id) })
	}
	c.finish(resp.GetTask())
	return resp.GetTargetVmId(), err
}
