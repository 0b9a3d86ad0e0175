package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// serveFiles serves some files over http.
func serveFiles(t *testing.T, files map[string][]byte) string {
	t.Helper()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, ok := files[r.URL.Path[1:]]
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(web.Close)
	return web.URL
}

func sha256Hex(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// TestSpacesInNames: ZFS allows spaces in the names of pools and datasets, and the provider uses them unchanged.
func TestSpacesInNames(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			nas, simulated := truenastest.New(t, func(c *sim.Config) {
				c.Release = release
				c.Pools = []sim.Pool{{Name: "my tank", SizeBytes: 1 << 40}, {Name: "fast one", SizeBytes: 1 << 40}}
			})
			client, _ := serve(t, nas, loopbackImages, func(c *server.Config) { c.Dataset = "my tank/virt rigaud" })
			web, disk := serveImage(t)
			ctx := context.Background()
			resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: web.job(web.checksum()), TargetName: "gold", StorageHint: "fast one"})
			if err != nil {
				t.Fatal(err)
			}
			finish(t, client, resp.GetTask())
			req := wanted("web")
			req.ImageJson = fmt.Sprintf(`{"Path":%q}`, resp.GetPreparedImagePath())
			req.PlacementJson = `{"Datastore":"fast one"}`
			created, err := client.Create(ctx, req)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(disk))
			if _, err := simulated.ReadVolume("fast one/virt rigaud/vms/web/root", got, 0); err != nil || !bytes.Equal(got, disk) {
				t.Errorf("the root disk is not the image: %v", err)
			}
			if _, err := client.Power(ctx, &providerv1.PowerRequest{Id: created.GetId(), Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
				t.Error(err)
			}
			if _, err := client.Delete(ctx, &providerv1.DeleteRequest{Id: created.GetId()}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestChecksumByItsAddress lands an image whose checksum is the URL of a list; the snapshot records the compared checksum.
func TestChecksumByItsAddress(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10", loopbackImages)
	web, _ := serveImage(t)
	list := serveFiles(t, map[string][]byte{
		"SHA256SUMS": []byte(web.checksum() + "  disk.raw.gz\n"), "wrong": []byte(sha256Hex(nil) + "  disk.raw.gz\n"), "page": []byte("<html>"),
	})
	resp, err := client.ImagePrepare(context.Background(), &providerv1.ImagePrepareRequest{ImageJson: web.job(list + "/SHA256SUMS"), TargetName: "gold"})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
	found := ""
	for _, s := range nas.State().Snapshots {
		if s.ID == resp.GetPreparedImageId() {
			found = s.User["virtrigaud:checksum"]
		}
	}
	if found != "sha256:"+web.checksum() {
		t.Errorf("the snapshot says %q", found)
	}
	for path, text := range map[string]string{"page": "not a list of checksums", "missing": "404"} {
		_, err := client.ImagePrepare(context.Background(), &providerv1.ImagePrepareRequest{ImageJson: web.job(list + "/" + path), TargetName: "gold"})
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(text)) {
			t.Errorf("%s: got %v, want %q", path, err, text)
		}
	}
}

// TestWrongFormatNamesAreNoticed checks the name also when the image exists and needs no download.
func TestWrongFormatNamesAreNoticed(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10", loopbackImages)
	addImage(t, nas)
	req := wanted("web")
	req.ImageJson = `{"Path":"tank/templates/gold@v1","Format":"floppy"}`
	_, err := client.Create(context.Background(), req)
	refusedWith(t, err, "InvalidArgument", `image_json.Format: invalid image reference: format is "floppy", allowed are`)
	_, err = client.ImagePrepare(context.Background(), &providerv1.ImagePrepareRequest{
		ImageJson: `{"source":{"libvirt":{"path":"tank/templates/gold@v1","format":"qcow3"}}}`, TargetName: "gold",
	})
	refusedWith(t, err, "InvalidArgument", `"qcow3"`)
}
