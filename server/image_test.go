package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// loopbackImages permits images from this machine.
func loopbackImages(c *server.Config) {
	c.Disk.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// imageServer serves one image over http and counts the complete downloads.
type imageServer struct {
	*httptest.Server
	content []byte
	fetched atomic.Int64
}

// sharedImage returns a raw disk of some MiB with data, and the same disk compressed. Tests only read both.
var sharedImage = sync.OnceValues(func() (disk, packed []byte) {
	disk = make([]byte, 4<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range disk[:1<<20] {
		disk[i] = byte(random.Uint32())
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(disk) // A write to a buffer never fails.
	_ = w.Close()
	return disk, b.Bytes()
})

// serveImage serves that disk, compressed.
func serveImage(t testing.TB) (*imageServer, []byte) {
	t.Helper()
	disk, packed := sharedImage()
	s := &imageServer{content: packed}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.Header.Get("Range") == "" {
			s.fetched.Add(1)
		}
		http.ServeContent(w, r, "disk.raw.gz", time.Unix(1, 0), bytes.NewReader(s.content))
	}))
	t.Cleanup(s.Close)
	return s, disk
}

func (s *imageServer) checksum() string {
	sum := sha256.Sum256(s.content)
	return hex.EncodeToString(sum[:])
}

// job returns the manager's request for a VMImage with this server's image.
func (s *imageServer) job(checksum string) string {
	return fmt.Sprintf(`{"source":{"libvirt":{"url":%q,"format":"qcow2","checksum":%q,"checksumType":"sha256"}},"prepare":{"onMissing":"Import","validateChecksum":true,"timeout":"30m0s","retries":0}}`, s.URL+"/disk.raw.gz", checksum)
}

// finish polls a task as the manager does, but faster.
func finish(t testing.TB, client providerv1.ProviderClient, task *providerv1.TaskRef) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for task.GetId() != "" {
		status, err := client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
		if err != nil || status.GetError() != "" {
			t.Fatalf("TaskStatus(%s): %v, %v", task.GetId(), status, err)
		}
		if status.GetDone() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestImageIsLandedOnceAndCloned(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release, loopbackImages)
			web, disk := serveImage(t)
			ctx := context.Background()
			prepare := func() *providerv1.ImagePrepareResponse {
				t.Helper()
				resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: web.job(web.checksum()), TargetName: "gold"})
				if err != nil || resp.GetPreparedImageId() == "" || resp.GetPreparedImagePath() == "" {
					t.Fatalf("ImagePrepare: %v, %v", resp, err)
				}
				return resp
			}
			finish(t, client, prepare().GetTask())
			resp := prepare()
			if resp.GetTask() != nil {
				t.Errorf("a ready image has the task %v", resp.GetTask())
			}
			for i := range 3 {
				req := wanted(fmt.Sprintf("web-%d", i))
				req.ImageJson = fmt.Sprintf(`{"Path":%q,"Format":"qcow2","Checksum":%q,"ChecksumType":"sha256"}`, resp.GetPreparedImagePath(), web.checksum())
				created, err := client.Create(ctx, req)
				if err != nil || created.GetTask() != nil {
					t.Fatalf("Create: %v, %v", created, err)
				}
				got := make([]byte, len(disk))
				if _, err := nas.ReadVolume(fmt.Sprintf("tank/virtrigaud/vms/web_%d/root", i), got, 0); err != nil || !bytes.Equal(got, disk) {
					t.Errorf("the root disk is not the image: %v", err)
				}
			}
			if n := web.fetched.Load(); n != 1 {
				t.Errorf("the image was fetched %d times", n)
			}
			if left := below(nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
				t.Errorf("staging is not empty: %v", left)
			}
		})
	}
}

// below lists the datasets below a path.
func below(state sim.State, prefix string) []string {
	var names []string
	for _, d := range state.Datasets {
		if len(d.Name) > len(prefix) && d.Name[:len(prefix)] == prefix {
			names = append(names, d.Name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

func TestCreateFromAURLWaitsForItsImage(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10", loopbackImages)
	web, disk := serveImage(t)
	ctx := context.Background()
	req := wanted("web-1")
	req.ImageJson = fmt.Sprintf(`{"URL":%q,"Format":"qcow2","Checksum":%q,"ChecksumType":"sha256"}`, web.URL+"/disk.raw.gz", web.checksum())
	first, err := client.Create(ctx, req)
	if err != nil || first.GetTask().GetId() == "" || first.GetId() == "" {
		t.Fatalf("Create: %v, %v", first, err)
	}
	finish(t, client, first.GetTask())
	if d, err := client.Describe(ctx, &providerv1.DescribeRequest{Id: first.GetId()}); err != nil || d.GetExists() {
		t.Errorf("after the task, before the next Create: %v, %v", d, err)
	}
	second, err := client.Create(ctx, req)
	if err != nil || second.GetId() != first.GetId() || second.GetTask() != nil {
		t.Fatalf("Create again: %v, %v", second, err)
	}
	got := make([]byte, len(disk))
	if _, err := nas.ReadVolume("tank/virtrigaud/vms/web_1/root", got, 0); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("the root disk is not the image: %v", err)
	}
}

func TestTheNextCreateReportsAFailedImage(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10", loopbackImages)
	web, _ := serveImage(t)
	ctx := context.Background()
	wrong := "00" + web.checksum()[2:]
	resp, err := client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: web.job(wrong), TargetName: "gold"})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
	req := wanted("web-1")
	req.ImageJson = fmt.Sprintf(`{"Path":%q}`, resp.GetPreparedImagePath())
	_, err = client.Create(ctx, req)
	refusedWith(t, err, "FailedPrecondition", "checksum")
	if left := below(nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
		t.Errorf("staging is not empty: %v", left)
	}
}

// TestWrongImageIsNotFetchedRepeatedly: the manager retries every few seconds. Another checksum is another image.
func TestWrongImageIsNotFetchedRepeatedly(t *testing.T) {
	t.Parallel()
	client, _ := onRelease(t, "25.10", loopbackImages)
	web, _ := serveImage(t)
	ask := func(checksum string) (*providerv1.ImagePrepareResponse, error) {
		return client.ImagePrepare(t.Context(), &providerv1.ImagePrepareRequest{ImageJson: web.job(checksum), TargetName: "gold"})
	}
	resp, err := ask("00" + web.checksum()[2:])
	if err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
	for range 5 {
		_, err := ask("00" + web.checksum()[2:])
		refusedWith(t, err, "FailedPrecondition", "no further download before")
	}
	if n := web.fetched.Load(); n != 1 {
		t.Errorf("it was fetched %d times", n)
	}
	if resp, err = ask(web.checksum()); err != nil {
		t.Fatal(err)
	}
	finish(t, client, resp.GetTask())
	if resp, err = ask(web.checksum()); err != nil || resp.GetTask() != nil {
		t.Errorf("with the right checksum: %v, %v", resp, err)
	}
}

func TestDeletedImageIsNoticed(t *testing.T) {
	t.Parallel()
	client, _ := onRelease(t, "25.10", loopbackImages)
	req := wanted("web-1")
	req.ImageJson = `{"Path":"tank/virtrigaud/images/abc/disk@ready"}`
	_, err := client.Create(context.Background(), req)
	refusedWith(t, err, "FailedPrecondition", "image_json.Path")
}

// TestPreparationsAreReported: the hook for metrics receives each preparation and its result, except for one that the end of the
// process interrupts, which the next process resumes.
func TestPreparationsAreReported(t *testing.T) {
	t.Parallel()
	reported := make(chan error, 9)
	observing := func(c *server.Config) { c.Hooks.OnImage = func(_ time.Duration, err error) { reported <- err } }
	api, _ := truenastest.New(t)
	client, provider := serve(t, api, loopbackImages, observing)
	web, _ := serveImage(t)
	for _, tt := range []struct {
		checksum string
		fails    error
	}{
		{web.checksum(), nil},
		{"00" + web.checksum()[2:], disk.ErrChecksum},
	} {
		resp, err := prepare(t, client, web.job(tt.checksum))
		must(t, err)
		finish(t, client, resp.GetTask())
		select {
		case err := <-reported:
			if !errors.Is(err, tt.fails) {
				t.Errorf("checksum %s: reported as %v, want %v", tt.checksum, err, tt.fails)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("checksum %s: not reported", tt.checksum)
		}
	}
	url, asked, _ := gatedImage(t)
	resp, err := prepare(t, client, fmt.Sprintf(`{"source":{"libvirt":{"url":%q}}}`, url))
	if err != nil || resp.GetTask() == nil {
		t.Fatalf("%v, %v", resp, err)
	}
	<-asked
	must(t, provider.Close())
	select {
	case err := <-reported:
		t.Errorf("an interrupted preparation is reported as %v", err)
	default:
	}
}

// TestLegacyPreparationsAreCounted: operators learn from the hook whether an older manager still asks.
func TestLegacyPreparationsAreCounted(t *testing.T) {
	var counted atomic.Int64
	client, _ := onRelease(t, "25.10", loopbackImages, func(c *server.Config) { c.Hooks.OnLegacyImage = func() { counted.Add(1) } })
	web, _ := serveImage(t)
	_ = landed(t, client, prepareFor(uidA, "team-a", web.job(web.checksum())))
	if n := counted.Load(); n != 0 {
		t.Errorf("the requests of a manager of line 0.4 are counted as %d older ones", n)
	}
	resp, err := prepare(t, client, web.job(web.checksum()))
	must(t, err)
	finish(t, client, resp.GetTask())
	if n := counted.Load(); n != 1 {
		t.Errorf("%d older requests are counted, want 1", n)
	}
}
