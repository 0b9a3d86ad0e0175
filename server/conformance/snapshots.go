package conformance

import (
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkSnapshots takes snapshots, reverts to them and deletes them, each more than once.
func checkSnapshots(c *checker) {
	if !c.offers.GetSupportsSnapshots() {
		return
	}
	id := c.create(c.plain(c.name("snapped")))
	for range 2 {
		first := c.snapshot(id, "before-upgrade")
		if again := c.snapshot(id, "before-upgrade"); again != first {
			c.Errorf("the same snapshot again has id %q, before %q", again, first)
		}
		other := c.snapshot(id, "second")
		if other == first {
			c.Errorf("two snapshots have the id %q", other)
		}
		for range 2 {
			c.dropSnapshot(id, other)
		}
		for range 2 {
			resp, err := call(c, c.target.Client.SnapshotRevert, &providerv1.SnapshotRevertRequest{VmId: id, SnapshotId: first})
			if err != nil {
				c.Fatalf("SnapshotRevert: %v", err)
			}
			c.finish(resp.GetTask())
		}
		c.await(id, stateOff)
		c.dropSnapshot(id, first)
		_, err := call(c, c.target.Client.SnapshotRevert, &providerv1.SnapshotRevertRequest{VmId: id, SnapshotId: first})
		c.refused("SnapshotRevert to a snapshot that was deleted", err, codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument)
	}
	c.sub("wrong", func(c *checker) { checkSnapshotsWrong(c, id) })
}

func checkSnapshotsWrong(c *checker, id string) {
	if !c.offers.GetSupportsMemorySnapshots() {
		_, err := call(c, c.target.Client.SnapshotCreate, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "m", IncludeMemory: true})
		c.refused("a snapshot of memory, which is not offered,", err)
	}
	for _, none := range noSuchVMs {
		_, err := call(c, c.target.Client.SnapshotCreate, &providerv1.SnapshotCreateRequest{VmId: none, NameHint: "s"})
		c.refused("SnapshotCreate of a VM that does not exist", err, codes.NotFound)
		_, err = call(c, c.target.Client.SnapshotRevert, &providerv1.SnapshotRevertRequest{VmId: none, SnapshotId: "s"})
		c.refused("SnapshotRevert of a VM that does not exist", err, codes.NotFound)
	}
}

func (c *checker) snapshot(id, name string) string {
	c.Helper()
	resp, err := call(c, c.target.Client.SnapshotCreate, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: name, Description: "conformance"})
	if err != nil {
		c.Fatalf("SnapshotCreate %q: %v", name, err)
	}
	c.finish(resp.GetTask())
	if resp.GetSnapshotId() == "" {
		c.Fatalf("SnapshotCreate %q returns no id", name)
	}
	return resp.GetSnapshotId()
}

func (c *checker) dropSnapshot(id, snapshot string) {
	c.Helper()
	resp, err := call(c, c.target.Client.SnapshotDelete, &providerv1.SnapshotDeleteRequest{VmId: id, SnapshotId: snapshot})
	if err != nil {
		c.Fatalf("SnapshotDelete %q: %v", snapshot, err)
	}
	c.finish(resp.GetTask())
}
