package conformance

import (
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkCreate repeats Creates as the manager does after conflicts, errors and restarts.
func checkCreate(c *checker) {
	c.sub("again", checkCreateAgain)
	c.sub("while it runs", checkCreateRunning)
	c.sub("at the same time", checkCreateAtOnce)
	c.sub("similar names", checkCreateNames)
	c.sub("with all fields of the manager", checkCreateFull)
}

func checkCreateAgain(c *checker) {
	req := c.plain(c.name("again"))
	id := c.create(req)
	for range 3 {
		if got := c.create(req); got != id {
			c.Errorf("repeated Create returns id %q, before %q", got, id)
		}
	}
	c.await(id, stateOff)
	if vm := c.listed(req.GetName()); vm.GetId() != id {
		c.Errorf("ListVMs returns id %q, Create returned %q", vm.GetId(), id)
	}
}

// checkCreateRunning repeats a Create of a running VM, which must stay unchanged.
func checkCreateRunning(c *checker) {
	req := c.plain(c.name("running"))
	id := c.create(req)
	c.power(id, providerv1.PowerOp_POWER_OP_ON)
	c.await(id, stateOn)
	if got := c.create(req); got != id {
		c.Errorf("Create of a running VM returns id %q, before %q", got, id)
	}
	c.await(id, stateOn)
}

// checkCreateAtOnce makes concurrent calls of Create, as replicas of the manager do. Each succeeds, or returns a retryable code.
func checkCreateAtOnce(c *checker) {
	req := c.plain(c.name("at-once"))
	var ids [4]string
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			resp, err := c.tryCreate(req)
			if ids[i] = resp.GetId(); err != nil && status.Code(err) != codes.Aborted {
				c.Errorf("one of %d: %v", len(ids), err)
			}
		})
	}
	wg.Wait()
	id := c.create(req)
	for _, other := range ids {
		if other != "" && other != id {
			c.Errorf("ids %q and %q for one VM", other, id)
		}
	}
	c.listed(req.GetName()) // listed fails when there are two.
}

// checkCreateNames makes VMs whose names a careless mapping would make equal.
func checkCreateNames(c *checker) {
	seen := map[string]string{}
	for _, name := range []string{"a-b", "a.b", "a--b", "a-b-"} {
		id := c.create(c.plain(c.name(name)))
		if other, ok := seen[id]; ok {
			c.Errorf("%q and %q both have id %q", name, other, id)
		}
		seen[id] = name
		if vm := c.listed(c.name(name)); vm.GetId() != id {
			c.Errorf("%q is listed with id %q and was made with %q", c.name(name), vm.GetId(), id)
		}
	}
}

// checkCreateFull sends every field in the manager's form.
func checkCreateFull(c *checker) {
	req := c.plain(c.name("full"))
	req.UserData = []byte("#cloud-config\nhostname: full\n")
	req.MetaData = []byte("instance-id: full\n")
	req.DisksJson = text([]disk{{SizeGiB: 1, Type: "thin", Name: "data"}, {SizeGiB: 2, Type: "thin", Name: "logs"}})
	req.Tags = []string{"a", "b=c"}
	if nics := c.networks(); len(nics) > 0 {
		nics[0].StaticIP, nics[0].Prefix, nics[0].Gateway, nics[0].DNS = "192.0.2.10", 24, "192.0.2.1", "192.0.2.53,192.0.2.54"
		req.NetworksJson = text(nics)
	}
	id := c.create(req)
	if got := c.create(req); got != id {
		c.Errorf("repeated Create returns id %q, before %q", got, id)
	}
}
