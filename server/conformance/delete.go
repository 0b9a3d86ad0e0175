package conformance

import (
	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkDelete expects that a VM is gone when Delete returns, because the manager then forgets the VM.
func checkDelete(c *checker) {
	req := c.plain(c.name("deleted"))
	req.UserData = []byte("#cloud-config\n{}\n")
	for _, running := range []bool{false, true} {
		id := c.create(req) // The second round creates it again under the same name.
		if running {
			c.power(id, providerv1.PowerOp_POWER_OP_ON)
			c.await(id, stateOn)
		}
		for range 2 {
			c.remove(id)
			if c.describe(id).GetExists() {
				c.Errorf("running %t: Describe has it after Delete", running)
			}
			if vm := c.listed(req.GetName()); vm != nil {
				c.Errorf("running %t: ListVMs has it after Delete", running)
			}
		}
	}
	for _, id := range noSuchVMs {
		c.remove(id)
	}
}
