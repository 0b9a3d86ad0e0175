package conformance

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// optional is an RPC that a provider may omit. The check calls it for a VM that does not exist.
type optional struct {
	name    string
	offered bool
	try     func() error
}

// checkNotOffered expects Unimplemented from each RPC that is not advertised, and another result from the others.
func checkNotOffered(c *checker) {
	for _, rpc := range append(append(c.optionalVM(), c.optionalDisk()...), c.optionalHosts()...) {
		for range 2 {
			err := rpc.try()
			switch {
			case !rpc.offered:
				c.refused(rpc.name+", which is not offered,", err, codes.Unimplemented)
			case status.Code(err) == codes.Unimplemented:
				c.Errorf("%s is offered, and returned %v", rpc.name, err)
			}
		}
	}
	// No capability covers these RPCs. A provider that has them returns NotFound for a VM that does not exist.
	for _, rpc := range []optional{
		{"Reconfigure", false, func() error {
			_, err := call(c, c.target.Client.Reconfigure, &providerv1.ReconfigureRequest{Id: noSuchVMs[0], DesiredJson: text(map[string]any{"Class": c.class()})})
			return err
		}},
		{"HardwareUpgrade", false, func() error {
			_, err := call(c, c.target.Client.HardwareUpgrade, &providerv1.HardwareUpgradeRequest{Id: noSuchVMs[0], TargetVersion: 21})
			return err
		}},
		{"GetDiskInfo", false, func() error {
			_, err := call(c, c.target.Client.GetDiskInfo, &providerv1.GetDiskInfoRequest{VmId: noSuchVMs[0]})
			return err
		}},
	} {
		c.refused(rpc.name, rpc.try(), codes.Unimplemented, codes.NotFound)
	}
}

func (c *checker) optionalVM() []optional {
	client, none := c.target.Client, noSuchVMs[0]
	return []optional{
		{"SnapshotCreate", c.offers.GetSupportsSnapshots(), func() error {
			_, err := call(c, client.SnapshotCreate, &providerv1.SnapshotCreateRequest{VmId: none, NameHint: "s"})
			return err
		}},
		{"SnapshotDelete", c.offers.GetSupportsSnapshots(), func() error {
			_, err := call(c, client.SnapshotDelete, &providerv1.SnapshotDeleteRequest{VmId: none, SnapshotId: "s"})
			return err
		}},
		{"SnapshotRevert", c.offers.GetSupportsSnapshots(), func() error {
			_, err := call(c, client.SnapshotRevert, &providerv1.SnapshotRevertRequest{VmId: none, SnapshotId: "s"})
			return err
		}},
		{"Clone", c.offers.GetSupportsLinkedClones(), func() error {
			_, err := call(c, client.Clone, &providerv1.CloneRequest{SourceVmId: none, TargetName: c.name("clone"), Linked: true})
			return err
		}},
	}
}

func (c *checker) optionalDisk() []optional {
	client, none := c.target.Client, noSuchVMs[0]
	return []optional{
		{"ImagePrepare", c.offers.GetSupportsImageImport(), func() error {
			_, err := call(c, client.ImagePrepare, &providerv1.ImagePrepareRequest{ImageJson: "{}", TargetName: c.name("image")})
			return err
		}},
		{"ExportDisk", c.offers.GetSupportsDiskExport(), func() error {
			_, err := call(c, client.ExportDisk, &providerv1.ExportDiskRequest{VmId: none, DestinationUrl: "pvc://p/d/export.qcow2", Format: "qcow2"})
			return err
		}},
		{"ImportDisk", c.offers.GetSupportsDiskImport(), func() error {
			_, err := call(c, client.ImportDisk, &providerv1.ImportDiskRequest{SourceUrl: "pvc://p/d/no-such.qcow2", Format: "qcow2", TargetName: c.name("import")})
			return err
		}},
	}
}

func (c *checker) optionalHosts() []optional {
	client := c.target.Client
	return []optional{
		{"ListHosts", c.offers.GetSupportsClustering(), func() error {
			_, err := call(c, client.ListHosts, &providerv1.ListHostsRequest{})
			return err
		}},
		{"TransferOwner", c.offers.GetSupportsRoutedAdoption(), func() error {
			_, err := call(c, client.TransferOwner, &providerv1.TransferOwnerRequest{Id: noSuchVMs[0], Owner: &providerv1.ObjectIdentity{Uid: "u"}})
			return err
		}},
		{"GetHostInfo", c.offers.GetSupportsClustering(), func() error {
			_, err := call(c, client.GetHostInfo, &providerv1.GetHostInfoRequest{HostId: "h"})
			return err
		}},
	}
}
