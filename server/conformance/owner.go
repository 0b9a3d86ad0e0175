package conformance

import (
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkOwner repeats Creates for the same owner and for others. v0.4 of the manager sends an owner, v0.3 none.
func checkOwner(c *checker) {
	name := c.name("owned")
	mine := &providerv1.ObjectIdentity{Uid: "uid-of-mine-" + name, Namespace: "default", Name: name}
	other := &providerv1.ObjectIdentity{Uid: "uid-of-other-" + name, Namespace: "default", Name: name}
	owned := func(owner *providerv1.ObjectIdentity) *providerv1.CreateRequest {
		req := c.plain(name)
		req.Owner = owner
		return req
	}
	id := c.create(owned(mine))
	if got := c.create(owned(mine)); got != id {
		c.Errorf("the same owner gets id %q, before %q", got, id)
	}
	for range 2 {
		_, err := c.tryCreate(owned(other))
		c.refused("another owner", err, codes.AlreadyExists)
	}
	if vm := c.listed(name); vm.GetId() != id {
		c.Errorf("after another owner's Create the VM has id %q, before %q", vm.GetId(), id)
	}
	if !c.describe(id).GetExists() {
		c.Error("after another owner's Create the VM is gone")
	}

	free := c.plain(c.name("unowned"))
	id = c.create(free)
	if got := c.create(free); got != id {
		c.Errorf("without an owner: id %q, before %q", got, id)
	}
	free.Owner = other
	_, err := c.tryCreate(free)
	c.refused("an owner for a VM that has none recorded", err, codes.AlreadyExists)
}
