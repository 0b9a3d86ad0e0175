package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"
	"strings"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Staging is a place for disks in transfer that both the provider and the checks reach.
type Staging struct {
	URL         string                                   // pvc://claim/folder, s3://bucket/prefix or nfs://server/export/folder; a file's name follows it
	Credentials map[string]string                        // S3 only: accessKeyID, secretAccessKey, sessionToken
	Options     string                                   // storage_options_json
	Open        func(name string) (io.ReadCloser, error) // reads a file there, to verify a checksum
	Remove      func(name string) error                  // removes a file; succeeds when it does not exist
}

// backend returns the manager's name for the kind of place.
func (s *Staging) backend() string {
	scheme, _, _ := strings.Cut(s.URL, "://")
	return scheme
}

func (s *Staging) file(name string) string { return strings.TrimSuffix(s.URL, "/") + "/" + name }

// stages reports whether a provider with these backends can use the target's staging place.
func (c *checker) stages(backends []string) bool {
	return c.target.Staging != nil && slices.Contains(backends, c.target.Staging.backend())
}

// exportOf returns the manager's request to export a VM's first disk.
func (c *checker) exportOf(vm, file, format string) *providerv1.ExportDiskRequest {
	s := c.target.Staging
	return &providerv1.ExportDiskRequest{
		VmId: vm, DestinationUrl: s.file(file), Format: format, Credentials: s.Credentials,
		BackendType: s.backend(), TransferMode: "auto", StorageOptionsJson: s.Options,
	}
}

// importOf returns the manager's request to import a staged file.
func (c *checker) importOf(file, format, target, sum string) *providerv1.ImportDiskRequest {
	s := c.target.Staging
	return &providerv1.ImportDiskRequest{
		SourceUrl: s.file(file), Format: format, TargetName: target, VerifyChecksum: true, ExpectedChecksum: sum,
		Credentials: s.Credentials, BackendType: s.backend(), TransferMode: "auto", StorageOptionsJson: s.Options,
	}
}

// staged returns the checksum of a file in the staging place.
func (c *checker) staged(file string) string {
	c.Helper()
	r, err := c.target.Staging.Open(file)
	if err != nil {
		c.Fatalf("the export cannot be read: %v", err)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, r)
	if closing := r.Close(); err != nil || closing != nil {
		c.Fatalf("the export cannot be read: %v, %v", err, closing)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// sweepStaged removes a file that a check may have staged.
func (c *checker) sweepStaged(file string) {
	c.Cleanup(func() {
		if err := c.target.Staging.Remove(file); err != nil {
			c.Errorf("%s stays in the staging place: %v", file, err)
		}
	})
}

// export exports a disk, waits for the end, and returns the checksum, which has to be that of the file.
func (c *checker) export(req *providerv1.ExportDiskRequest, file string) string {
	c.Helper()
	c.sweepStaged(file)
	resp, err := call(c, c.target.Client.ExportDisk, req)
	if err != nil {
		c.Fatalf("ExportDisk as %s: %v", req.GetFormat(), err)
	}
	c.finish(resp.GetTask())
	if got := c.staged(file); got != resp.GetChecksum() {
		c.Fatalf("ExportDisk as %s returns the checksum %q, and the file has %s", req.GetFormat(), resp.GetChecksum(), got)
	}
	return resp.GetChecksum()
}

// rawOf returns the checksum of a disk's contents from its raw export, or "" without support for raw exports.
func (c *checker) rawOf(vm, file string) string {
	c.Helper()
	if !slices.Contains(c.offers.GetSupportedExportFormats(), "raw") {
		return ""
	}
	file = c.name(file)
	return c.export(c.exportOf(vm, file, "raw"), file)
}

func (c *checker) importDisk(req *providerv1.ImportDiskRequest) *providerv1.ImportDiskResponse {
	c.Helper()
	resp, err := call(c, c.target.Client.ImportDisk, req)
	if err != nil {
		c.Fatalf("ImportDisk: %v", err)
	}
	c.finish(resp.GetTask())
	if resp.GetPath() == "" || resp.GetDiskId() == "" || resp.GetChecksum() != req.GetExpectedChecksum() {
		c.Fatalf("ImportDisk returns %v; want an id, a path and the checksum %s", resp, req.GetExpectedChecksum())
	}
	return resp
}
