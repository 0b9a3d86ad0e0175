//go:build e2e

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// migrate exports a VM's disk to S3, imports it on a second NAS of another release and boots it there.
func (o *tour) migrate() {
	objects := s3mem.New()
	if err := objects.CreateBucket("bucket"); err != nil {
		o.Fatal(err)
	}
	s3 := httptest.NewServer(gofakes3.New(objects, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	defer s3.Close()
	const object = "s3://bucket/vmmigrations/ns/web-1/export.qcow2"
	secrets := map[string]string{"accessKeyID": "AK", "secretAccessKey": "very-secret"}
	options := fmt.Sprintf(`{"backend":"s3","bucket":"bucket","endpoint":%q,"region":"us-east-1","prefix":"","usePathStyle":true}`, s3.URL)
	out, err := o.home.rpc.ExportDisk(o.Context(), &providerv1.ExportDiskRequest{
		VmId: o.cloned.id, DestinationUrl: object, Format: "qcow2", Compress: true, BackendType: "s3", TransferMode: "auto",
		Credentials: secrets, StorageOptionsJson: options,
	})
	if err != nil {
		o.Fatal(err)
	}
	o.home.finish(out.GetTask())
	o.log.say("%s: its disk is exported to S3 as a compressed qcow2", o.cloned.name)

	other := newSite(o.T, o.log, "a second NAS", "25.10")
	before := other.nas.State()
	asked := time.Now()
	in, err := other.rpc.ImportDisk(o.Context(), &providerv1.ImportDiskRequest{
		SourceUrl: object, Format: "qcow2", TargetName: "moved", VerifyChecksum: true, ExpectedChecksum: out.GetChecksum(),
		BackendType: "s3", TransferMode: "auto", Credentials: secrets, StorageOptionsJson: options,
	})
	if err != nil {
		o.Fatal(err)
	}
	other.finish(in.GetTask())
	moved := other.create(&providerv1.CreateRequest{
		Name: "moved", ClassJson: small, UserData: []byte(webData), NetworksJson: `[{"Name":"eth0","Bridge":"br0"}]`,
	}, in.GetPath())
	moved.requested = asked
	moved.on()
	moved.await("imported on a second NAS")
	moved.ownIdentity()
	moved.holds("marker", "first")
	o.log.say("moved: its disk says %q, as on the NAS that it came from", moved.report.one("marker"))
	moved.knows(moved.address("eth0"))
	moved.off()
	if _, err := other.rpc.Delete(o.Context(), &providerv1.DeleteRequest{Id: moved.id}); err != nil {
		o.Error(err)
	}
	nothingLeft(o.T, other, before)
}
