package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
)

// TestImagesWaitForMemory has memory for one image, whose source stops in the middle. The next one gets a task immediately and a
// record on the NAS, reports that it waits, and is landed then; the time limit does not count the wait.
func TestImagesWaitForMemory(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10", loopbackImages, func(c *server.Config) { c.Disk.MaxMemory = 20 << 20 })
	first, asked, open := gatedImage(t)
	second, _ := serveImage(t)

	slow := good()
	slow.ImageJson = fmt.Sprintf(`{"URL":%q}`, first)
	created, err := client.Create(t.Context(), slow)
	if err != nil {
		t.Fatal(err)
	}
	<-asked

	job := strings.Replace(second.job(second.checksum()), "30m0s", "1s", 1)
	began := time.Now()
	prepared, err := client.ImagePrepare(t.Context(), &providerv1.ImagePrepareRequest{TargetName: "second", ImageJson: job})
	if err != nil || prepared.GetTask().GetId() == "" {
		t.Fatalf("the second image: %v, %v", prepared, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("ImagePrepare took %v", took)
	}
	dataset := strings.TrimSuffix(prepared.GetPreparedImagePath(), "/disk@ready")
	noted := false
	for _, d := range nas.State().Datasets {
		noted = noted || d.Name == dataset && d.User["virtrigaud:source"] != ""
	}
	if !noted {
		t.Error("the NAS has no record of the image")
	}

	waiting := good()
	waiting.Name, waiting.ImageJson = "web-2", fmt.Sprintf(`{"Path":%q}`, prepared.GetPreparedImagePath())
	queued, err := client.Create(t.Context(), waiting)
	if err != nil {
		t.Fatal(err)
	}
	if text := progressOf(t, client, queued.GetId()); !strings.Contains(text, "waiting for memory") {
		t.Errorf("the second image is reported at %q", text)
	}
	time.Sleep(1500 * time.Millisecond) // longer than its time limit
	close(open)
	finish(t, client, created.GetTask())
	finish(t, client, prepared.GetTask())
	for _, req := range []*providerv1.CreateRequest{slow, waiting} {
		if resp, err := client.Create(t.Context(), req); err != nil || resp.GetTask().GetId() != "" {
			t.Errorf("%s: %v, %v", req.GetName(), resp, err)
		}
	}
}

// progressOf returns the progress of the image of a VM that waits for it.
func progressOf(t *testing.T, client providerv1.ProviderClient, id string) string {
	t.Helper()
	vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return vm.GetProviderRawJson()
}

// gatedImage is the URL of a raw disk. The server sends only the beginning until open is closed. It closes asked at the first
// request.
func gatedImage(t *testing.T) (url string, asked, open chan struct{}) {
	t.Helper()
	asked, open = make(chan struct{}), make(chan struct{})
	ask := sync.OnceFunc(func() { close(asked) })
	disk := bytes.Repeat([]byte{1, 2, 3, 0xfe}, 1<<20)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ask()
		w.Header().Set("Content-Length", fmt.Sprint(len(disk)))
		w.Write(disk[:1<<20])
		http.NewResponseController(w).Flush()
		select {
		case <-open:
			w.Write(disk[1<<20:])
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	return s.URL + "/first.raw", asked, open
}
