package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

func prepare(t testing.TB, client providerv1.ProviderClient, imageJSON string) (*providerv1.ImagePrepareResponse, error) {
	t.Helper()
	return client.ImagePrepare(context.Background(), &providerv1.ImagePrepareRequest{ImageJson: imageJSON, TargetName: "gold"})
}

func TestTenCallersLandAnImageOnce(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10", loopbackImages)
	web, _ := serveImage(t)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			resp, err := prepare(t, client, web.job(web.checksum()))
			if err != nil {
				t.Error(err)
				return
			}
			finish(t, client, resp.GetTask())
		})
	}
	all.Wait()
	if n := web.fetched.Load(); n != 1 {
		t.Errorf("the image was fetched %d times", n)
	}
	if images := below(nas.State(), "tank/virtrigaud/images/"); len(images) != 2 {
		t.Errorf("images: %v", images)
	}
}

func TestTwoReplicasLandAnImageOnce(t *testing.T) {
	t.Parallel()
	nas, address := truenastest.Serve(t)
	web, _ := serveImage(t)
	var all sync.WaitGroup
	for _, name := range []string{"replica-1", "replica-2"} {
		all.Go(func() {
			client := replica(t, address, name)
			resp, err := prepare(t, client, web.job(web.checksum()))
			if err != nil {
				t.Error(err)
				return
			}
			finish(t, client, resp.GetTask())
			if again, err := prepare(t, client, web.job(web.checksum())); err != nil || again.GetTask() != nil {
				t.Errorf("after the task: %v, %v", again, err)
			}
		})
	}
	all.Wait()
	uploads := 0
	for _, method := range nas.Calls() {
		if method == "filesystem.put" {
			uploads++
		}
	}
	if left := below(nas.State(), "tank/virtrigaud/staging/"); uploads != 1 || len(left) > 0 {
		t.Errorf("%d uploads, staging is not empty: %v", uploads, left)
	}
}

// replica returns one of several providers with the same id on a NAS.
func replica(t *testing.T, address *sim.Server, name string) providerv1.ProviderClient {
	t.Helper()
	client, stop := startProvider(t, address, func(c *server.Config) { c.Instance, c.LeaseFor = name, 6*time.Second })
	t.Cleanup(stop)
	return client
}

// slowImage serves half of an image, and the rest after release.
func slowImage(t testing.TB, content []byte) (url string, release func()) {
	t.Helper()
	gate := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if r.Method == http.MethodHead {
			return
		}
		_, _ = w.Write(content[:len(content)/2])
		w.(http.Flusher).Flush()
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		_, _ = w.Write(content[len(content)/2:])
	}))
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(func() {
		release()
		s.Close()
	})
	return s.URL + "/disk.raw.gz", release
}

func TestWaitingVMShowsTheProgressOfItsImage(t *testing.T) {
	t.Parallel()
	client, _ := onRelease(t, "25.10", loopbackImages)
	web, _ := serveImage(t)
	url, release := slowImage(t, web.content)
	ctx := context.Background()
	req := wanted("web-1")
	req.ImageJson = fmt.Sprintf(`{"URL":%q}`, url)
	made, err := client.Create(ctx, req)
	if err != nil || made.GetTask() == nil {
		t.Fatalf("Create: %v, %v", made, err)
	}
	d, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: made.GetId()})
	if err != nil || !d.GetExists() || d.GetPowerState() != "Off" {
		t.Fatalf("Describe: %v, %v", d, err)
	}
	raw := map[string]string{}
	if err := json.Unmarshal([]byte(d.GetProviderRawJson()), &raw); err != nil || !strings.Contains(raw["image_progress"], "MiB") {
		t.Errorf("provider_raw: %q, %v", d.GetProviderRawJson(), err)
	}
	_, err = client.Power(ctx, &providerv1.PowerRequest{Id: made.GetId(), Op: providerv1.PowerOp_POWER_OP_ON})
	refusedWith(t, err, "Aborted", "image")
	release()
	finish(t, client, made.GetTask())
	if again, err := client.Create(ctx, req); err != nil || again.GetTask() != nil {
		t.Errorf("Create after the task: %v, %v", again, err)
	}
}

func TestPolicyOfAnImage(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10", loopbackImages)
	web, disk := serveImage(t)
	url := web.URL + "/disk.raw.gz"
	_, err := prepare(t, client, fmt.Sprintf(`{"source":{"libvirt":{"url":%q}},"prepare":{"onMissing":"Fail"}}`, url))
	refusedWith(t, err, "FailedPrecondition", "onMissing")
	if len(below(nas.State(), "tank/virtrigaud/images/")) > 0 {
		t.Error("a missing image was made although it must not be")
	}
	first, err := prepare(t, client, fmt.Sprintf(`{"source":{"libvirt":{"url":%q,"checksum":"00","checksumType":"sha256"}},"prepare":{"validateChecksum":false}}`, url))
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, first.GetTask())
	volume := strings.TrimSuffix(first.GetPreparedImagePath(), "@ready")
	if _, err := nas.WriteVolume(volume, []byte("scratched"), 0); err != nil {
		t.Fatal(err)
	}
	again, err := prepare(t, client, fmt.Sprintf(`{"source":{"libvirt":{"url":%q}},"prepare":{"force":true}}`, url))
	if err != nil || again.GetTask() == nil || again.GetPreparedImagePath() != first.GetPreparedImagePath() {
		t.Fatalf("forced: %v, %v", again, err)
	}
	finish(t, client, again.GetTask())
	got := make([]byte, len(disk))
	if _, err := nas.ReadVolume(volume, got, 0); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("after force the volume is not the image: %v", err)
	}
}
