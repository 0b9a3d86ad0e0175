package server_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// s3Image puts an image into the depot's bucket and returns its path for a VMImage of line 0.4.
func s3Image(t *testing.T, d *depot, form string) string {
	t.Helper()
	d.put(t, "s3", "gold.qcow2", sample(t, "v3.qcow2"))
	return strings.Replace(d.url("s3", "gold.qcow2"), "s3://", form, 1)
}

// made creates a VM as the manager does: while an image is in preparation, it polls the task and repeats the call.
func made(t *testing.T, client providerv1.ProviderClient, req *providerv1.CreateRequest) string {
	t.Helper()
	for range 5 {
		resp, err := client.Create(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetTask() == nil {
			return resp.GetId()
		}
		finish(t, client, resp.GetTask())
	}
	t.Fatal("the image never comes")
	return ""
}

// A path of line 0.4 can name an object in S3 or an artifact in a registry. The manager never prepares it; Create lands it for the
// namespace of the VM.
func TestAliasesAreLandedByCreate(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"/s3://", "/s3/"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			depot := newDepot(t)
			client, nas := onRelease(t, "25.10", depot.reach, depot.images)
			path := s3Image(t, depot, form)
			image := fmt.Sprintf(`{"Path":%q,"Format":"qcow2","ChecksumType":"sha256","ImportedDisk":false}`, path)
			for _, namespace := range []string{"team-a", "team-b"} {
				req := ownedBy("uid-"+namespace, namespace, "web-1")
				req.ImageJson = image
				made(t, client, req)
			}
			var images []string
			for _, name := range below(nas.State(), "tank/virtrigaud/images/") {
				if !strings.HasSuffix(name, "/disk") {
					images = append(images, name)
				}
			}
			if len(images) != 2 {
				t.Fatalf("got the images %v, want one for each namespace", images)
			}
			// The path of an image does not give access to another namespace.
			for _, image := range images {
				for _, prefix := range []string{"/dev/zvol/", ""} {
					req := ownedBy("uid-c", "team-c", "web-1")
					req.ImageJson = fmt.Sprintf(`{"Path":"%s%s/disk@ready","ImportedDisk":false}`, prefix, image)
					_, err := client.Create(t.Context(), req)
					if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "not on the NAS") {
						t.Errorf("%s: got %v", req.ImageJson, err)
					}
				}
			}
			clean(t, nas)
		})
	}
}

// Line 0.3 prepares the image at the same path.
func TestAliasesArePreparedForLine03(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	client, _ := onRelease(t, "25.10", depot.reach, depot.images)
	for _, form := range []string{"s3://", "/s3://"} {
		job := fmt.Sprintf(`{"source":{"libvirt":{"path":%q,"format":"qcow2"}}}`, s3Image(t, depot, form))
		resp, err := client.ImagePrepare(t.Context(), &providerv1.ImagePrepareRequest{ImageJson: job, TargetName: "gold"})
		if err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		finish(t, client, resp.GetTask())
	}
}

// A disk that a migration imported is not an image, and neither are its snapshots.
func TestImportsAreNotImages(t *testing.T) {
	t.Parallel()
	depot := newDepot(t)
	client, nas := onRelease(t, "25.10", depot.reach)
	staged := sample(t, "v3.qcow2")
	depot.put(t, "s3", "disk.qcow2", staged)
	landed, err := client.ImportDisk(t.Context(), depot.importOf("s3", "disk.qcow2", "qcow2", "web-1-migrated", staged))
	if err != nil {
		t.Fatal(err)
	}
	if err := nas.AddSnapshot(landed.GetPath() + "@auto-1"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{landed.GetPath(), landed.GetPath() + "@auto-1"} {
		req := ownedBy("uid-a", "team-a", "web-1")
		req.ImageJson = fmt.Sprintf(`{"Path":"/dev/zvol/%s","ImportedDisk":false}`, path)
		_, err := client.Create(t.Context(), req)
		refusedWith(t, err, "InvalidArgument", "image_json.Path")
	}
}
