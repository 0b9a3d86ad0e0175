package conformance

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// desired is the manager's desired state of a VM, with all fields of its Create.
type desired struct {
	Name     string
	Class    class
	Image    image
	Networks []network
	Disks    []disk
	UserData *struct{}
	MetaData *struct{}
	Tags     []string
}

// checkReconfigure changes a VM, and expects a refusal of an impossible change, never a success without the change.
func checkReconfigure(c *checker) {
	if status.Code(c.reconfigure(noSuchVMs[0], desired{Class: c.class()})) == codes.Unimplemented {
		return
	}
	req := c.plain(c.name("changed"))
	want := desired{Name: req.GetName(), Class: c.class(), Image: image{Path: c.target.Image}, Networks: c.networks(), Disks: []disk{{SizeGiB: 2, Type: "thin", Name: "data"}}}
	req.DisksJson = text(want.Disks)
	id := c.create(req)
	for _, step := range []struct {
		name   string
		change func()
	}{
		{"nothing", func() {}},
		{"more CPUs and memory", func() { want.Class.CPU, want.Class.MemoryMiB = 2, 512 }},
		{"fewer CPUs", func() { want.Class.CPU = 1 }},
		{"a larger disk", func() { want.Disks[0].SizeGiB = 3 }},
	} {
		step.change()
		for range 2 {
			if err := c.reconfigure(id, want); err != nil {
				c.Fatalf("%s: %v", step.name, err)
			}
			c.matches(want)
		}
	}
	smaller := want
	smaller.Disks = []disk{{SizeGiB: 1, Type: "thin", Name: "data"}}
	c.refused("a smaller disk", c.reconfigure(id, smaller), codes.InvalidArgument, codes.FailedPrecondition)
	c.matches(want)

	c.power(id, providerv1.PowerOp_POWER_OP_ON)
	c.await(id, stateOn)
	if err := c.reconfigure(id, want); err != nil {
		c.Errorf("nothing, while it runs: %v", err)
	}
	more := want
	more.Class.CPU = 2
	if err := c.reconfigure(id, more); err == nil {
		c.matches(more)
	} else {
		c.refused("more CPUs while it runs", err)
		c.matches(want)
	}
	for _, none := range noSuchVMs {
		c.refused("Reconfigure of a VM that does not exist", c.reconfigure(none, want), codes.NotFound)
	}
}

func (c *checker) reconfigure(id string, want desired) error {
	c.Helper()
	resp, err := call(c, c.target.Client.Reconfigure, &providerv1.ReconfigureRequest{Id: id, DesiredJson: text(want)})
	c.finish(resp.GetTask())
	return err
}

// matches checks that ListVMs reports a VM as desired.
func (c *checker) matches(want desired) {
	c.Helper()
	vm := c.listed(want.Name)
	found := false
	for _, d := range vm.GetDisks() {
		found = found || int(d.GetSizeGib()) == want.Disks[0].SizeGiB
	}
	if int(vm.GetCpu()) != want.Class.CPU || int(vm.GetMemoryMib()) != want.Class.MemoryMiB || !found {
		c.Errorf("it is listed as %v; want %d CPUs, %d MiB and a disk of %d GiB", vm, want.Class.CPU, want.Class.MemoryMiB, want.Disks[0].SizeGiB)
	}
}
