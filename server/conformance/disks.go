package conformance

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkDiskInfo reads the first disk of a VM. No capability covers the call.
func checkDiskInfo(c *checker) {
	id := c.create(c.plain(c.name("measured")))
	for range 2 {
		info, err := call(c, c.target.Client.GetDiskInfo, &providerv1.GetDiskInfoRequest{VmId: id})
		if status.Code(err) == codes.Unimplemented {
			return
		}
		if err != nil || info.GetDiskId() == "" || info.GetPath() == "" || info.GetVirtualSizeBytes() <= 0 || info.GetActualSizeBytes() < 0 ||
			!slices.Contains(diskFormats, info.GetFormat()) {
			c.Fatalf("GetDiskInfo: %v, %v; want an id, a path, sizes and a format of %v", info, err, diskFormats)
		}
		// The call also accepts the returned id of the disk.
		again, err := call(c, c.target.Client.GetDiskInfo, &providerv1.GetDiskInfoRequest{VmId: id, DiskId: info.GetDiskId()})
		if err != nil || again.GetPath() != info.GetPath() {
			c.Errorf("GetDiskInfo of disk %q: %v, %v; before %v", info.GetDiskId(), again, err, info)
		}
	}
	_, err := call(c, c.target.Client.GetDiskInfo, &providerv1.GetDiskInfoRequest{VmId: id, DiskId: "no-such-disk"})
	c.refused("GetDiskInfo of a disk that does not exist", err, codes.NotFound, codes.InvalidArgument)
}

// checkDisks moves a disk out of the provider and in again, as a migration does: in every advertised format, also compressed, from
// a stopped VM, from a running VM, and from a snapshot.
func checkDisks(c *checker) {
	if !c.offers.GetSupportsDiskExport() || !c.stages(c.offers.GetSupportedExportBackends()) {
		return
	}
	req := c.plain(c.name("exported"))
	if path := c.preparedImage(); path != "" { // An image gives the disk contents.
		req = c.ofDisk(req.GetName(), path)
	}
	source := c.create(req)
	m := &moving{source: source, raw: c.rawOf(source, "raw")}
	for _, format := range c.offers.GetSupportedExportFormats() {
		c.sub(format, func(c *checker) { m.check(c, format, false) })
		if c.offers.GetSupportsExportCompression() && format != "raw" {
			c.sub(format+" compressed", func(c *checker) { m.check(c, format, true) })
		}
	}
	c.sub("snapshot", m.checkSnapshot)
	c.sub("running", m.checkRunning)
	c.sub("refused", m.checkRefused)
}

// ofDisk returns a VM whose disk has the size of its source.
func (c *checker) ofDisk(name, path string) *providerv1.CreateRequest {
	req, small := c.plain(name), c.class()
	small.DiskDefaults = nil
	req.ClassJson, req.ImageJson = text(small), text(image{Path: path})
	return req
}

// moving is a disk that is moved in several ways.
type moving struct {
	source string // the id of the disk's VM
	raw    string // the checksum of its contents; empty if the provider exports no raw disk
}

// check exports the disk twice, imports it twice, and makes a VM whose disk has to have the same contents.
func (m *moving) check(c *checker, format string, compress bool) {
	kind := format
	if compress {
		kind = "packed." + format
	}
	file := c.name("disk." + kind)
	req := c.exportOf(m.source, file, format)
	req.Compress = compress
	var sum string
	for range 2 {
		sum = c.export(req, file)
	}
	if !slices.Contains(c.offers.GetSupportedImportFormats(), format) || !c.stages(c.offers.GetSupportedImportBackends()) {
		return
	}
	target := c.name("imported-" + kind)
	into := c.importOf(file, format, target, sum)
	disk := c.importDisk(into)
	if again := c.importDisk(into); again.GetPath() != disk.GetPath() {
		c.Errorf("ImportDisk again: path %q, before %q", again.GetPath(), disk.GetPath())
	}
	m.checkImported(c, target, disk)
}

// checkImported makes a VM from the imported disk itself, without a copy, and removes it.
func (m *moving) checkImported(c *checker, name string, disk *providerv1.ImportDiskResponse) {
	req := c.ofDisk(name, disk.GetPath())
	id := c.create(req)
	if again := c.create(req); again != id {
		c.Errorf("Create of the imported disk again: id %q, before %q", again, id)
	}
	was, err1 := call(c, c.target.Client.GetDiskInfo, &providerv1.GetDiskInfoRequest{VmId: m.source})
	is, err2 := call(c, c.target.Client.GetDiskInfo, &providerv1.GetDiskInfoRequest{VmId: id})
	switch {
	case status.Code(err1) == codes.Unimplemented && status.Code(err2) == codes.Unimplemented:
	case err1 != nil || err2 != nil || is.GetVirtualSizeBytes() != was.GetVirtualSizeBytes():
		c.Errorf("the disk was %v, %v, and after it was moved it is %v, %v", was, err1, is, err2)
	}
	if raw := c.rawOf(id, name+".raw"); raw != m.raw {
		c.Errorf("the content of the disk has the checksum %s, and had %s before it was moved", raw, m.raw)
	}
	c.power(id, providerv1.PowerOp_POWER_OP_ON)
	c.await(id, stateOn)
	c.remove(id)
}

// checkSnapshot exports a snapshot of the disk.
func (m *moving) checkSnapshot(c *checker) {
	if !c.offers.GetSupportsSnapshots() {
		return
	}
	file := c.name("snapshot.raw")
	format := c.offers.GetSupportedExportFormats()[0]
	if m.raw != "" {
		format = "raw"
	}
	req := c.exportOf(m.source, file, format)
	req.SnapshotId = c.snapshot(m.source, "export")
	sum := c.export(req, file)
	if m.raw != "" && sum != m.raw {
		c.Errorf("the snapshot's content has the checksum %s, the disk's %s", sum, m.raw)
	}
	c.dropSnapshot(m.source, req.GetSnapshotId())
	_, err := call(c, c.target.Client.ExportDisk, req)
	c.refused("ExportDisk of a snapshot that was deleted", err, codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument)
}

// checkRunning exports the disk of a running VM, which a provider may refuse.
func (m *moving) checkRunning(c *checker) {
	file, format := c.name("running"), c.offers.GetSupportedExportFormats()[0]
	c.power(m.source, providerv1.PowerOp_POWER_OP_ON)
	c.await(m.source, stateOn)
	c.sweepStaged(file)
	resp, err := call(c, c.target.Client.ExportDisk, c.exportOf(m.source, file, format))
	if err != nil {
		c.refused("ExportDisk of a VM that runs", err, codes.FailedPrecondition)
	} else {
		c.finish(resp.GetTask())
		if got := c.staged(file); got != resp.GetChecksum() {
			c.Errorf("ExportDisk returns the checksum %q, and the file has %s", resp.GetChecksum(), got)
		}
	}
	if !c.describe(m.source).GetExists() || c.describe(m.source).GetPowerState() != stateOn {
		c.Error("the VM stopped")
	}
	c.power(m.source, providerv1.PowerOp_POWER_OP_OFF)
	c.await(m.source, stateOff)
}

// checkRefused requests unsupported formats, objects that do not exist, and a file that has changed.
func (m *moving) checkRefused(c *checker) {
	format := c.offers.GetSupportedExportFormats()[0]
	_, err := call(c, c.target.Client.ExportDisk, c.exportOf(m.source, c.name("papyrus"), "papyrus"))
	c.refused("ExportDisk in a format that is not offered", err)
	for _, none := range noSuchVMs {
		_, err := call(c, c.target.Client.ExportDisk, c.exportOf(none, c.name("nothing"), format))
		c.refused("ExportDisk of a VM that does not exist", err, codes.NotFound)
	}
	if !c.offers.GetSupportsDiskImport() || !c.stages(c.offers.GetSupportedImportBackends()) || !slices.Contains(c.offers.GetSupportedImportFormats(), format) {
		return
	}
	_, err = call(c, c.target.Client.ImportDisk, c.importOf(c.name("no-such-file"), format, c.name("import-of-nothing"), ""))
	c.refused("ImportDisk of a file that does not exist", err)
	file := c.name("changed." + format)
	c.export(c.exportOf(m.source, file, format), file)
	for range 2 {
		_, err = call(c, c.target.Client.ImportDisk, c.importOf(file, format, c.name("import-of-changed"), strings.Repeat("0", 64)))
		c.refused("ImportDisk of a file with another checksum", err)
	}
}
