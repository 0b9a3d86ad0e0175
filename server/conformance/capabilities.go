package conformance

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkCapabilities checks that the capabilities agree with each other and with Create.
func checkCapabilities(c *checker) {
	again, err := call(c, c.target.Client.GetCapabilities, &providerv1.GetCapabilitiesRequest{})
	if err != nil || !proto.Equal(c.offers, again) {
		c.Errorf("repeated call: %v, %v; before %v", again, err, c.offers)
	}
	for _, list := range []struct {
		name    string
		offered bool
		values  [][]string
	}{
		{"disk export", c.offers.GetSupportsDiskExport(), [][]string{c.offers.GetSupportedExportFormats(), c.offers.GetSupportedExportBackends()}},
		{"disk import", c.offers.GetSupportsDiskImport(), [][]string{c.offers.GetSupportedImportFormats(), c.offers.GetSupportedImportBackends()}},
		{"transfer", c.offers.GetSupportsDiskExport() || c.offers.GetSupportsDiskImport(), [][]string{c.offers.GetSupportedTransferModes()}},
	} {
		for _, values := range list.values {
			if list.offered != (len(values) > 0) {
				c.Errorf("%s: offered is %t, and how is %v", list.name, list.offered, values)
			}
		}
	}
	if c.offers.GetSupportsExportCompression() && !c.offers.GetSupportsDiskExport() {
		c.Error("compression of exports is offered, and no exports")
	}
	if c.offers.GetSupportsMemorySnapshots() && !c.offers.GetSupportsSnapshots() {
		c.Error("snapshots of memory are offered, and no snapshots")
	}
	c.sub("disk types", checkDiskTypes)
}

// checkDiskTypes makes a disk of each advertised type, and expects a refusal of all other types.
func checkDiskTypes(c *checker) {
	types := c.offers.GetSupportedDiskTypes()
	if len(types) == 0 {
		c.Error("no disk type is offered")
	}
	for _, kind := range types {
		req := c.plain(c.name("disk-" + kind))
		req.DisksJson = text([]disk{{SizeGiB: 1, Type: kind, Name: "data"}})
		c.create(req)
	}
	req := c.plain(c.name("disk-papyrus"))
	req.DisksJson = text([]disk{{SizeGiB: 1, Type: "papyrus", Name: "data"}})
	_, err := c.tryCreate(req)
	c.refused("a disk of a type that is not offered", err, codes.InvalidArgument, codes.FailedPrecondition)
}
