package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// scene is a running provider with everything that its status page can show: a prepared image, one in preparation and a failed
// one, VMs in several states, a running job, and a refused request.
func scene(t *testing.T) *tour {
	t.Helper()
	nas, err := startSimulator(simulatorFlags{release: "25.10", latency: 3 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nas.close)
	if err := nas.AddVM("old_fileserver", 4, 8192); err != nil {
		t.Fatal(err)
	}
	s := &tour{out: io.Discard, nas: nas}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.end)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, act := range []func(context.Context, *tour) error{sceneImages, sceneVMs, sceneJob, sceneTrouble} {
		if err := act(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	mirror := httptest.NewServer(slowly(t))
	t.Cleanup(mirror.CloseClientConnections)
	for _, image := range [][3]string{{"talos-1.12", "metal-amd64.raw"}, {"ubuntu-24.04", "noble.img", "d41d8cd98f00b204e9800998ecf8427e"}} {
		if err := s.prepare(ctx, image[0], mirror.URL+"/"+image[1], image[2]); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitProgress(t)
	return s
}

// slowly serves a part of one image and then stalls until the test ends. Other images are small.
func slowly(t *testing.T) http.Handler {
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metal-amd64.raw" {
			_, _ = w.Write(bootable(1 << 20))
			return
		}
		const size = 100 << 20
		w.Header().Set("Content-Length", fmt.Sprint(size))
		_, _ = w.Write(bootable(size * 62 / 100))
		<-ended
	})
}

// bootable returns a disk that ends its first sector as a boot sector.
func bootable(size int) []byte {
	disk := make([]byte, size)
	copy(disk[510:], "\x55\xaa")
	return disk
}

// prepare requests an image and does not wait for it.
func (t *tour) prepare(ctx context.Context, name, url, sum string) error {
	_, err := t.client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{TargetName: name, ImageJson: fmt.Sprintf(
		`{"source":{"libvirt":{"url":%q,"format":"raw","checksum":%q}},"prepare":{"retries":0}}`, url, sum)})
	return err
}

// awaitProgress waits until the slow image has stalled and the other one has failed.
func (t *tour) awaitProgress(test *testing.T) {
	test.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pause) {
		stopped, failed := false, false
		for _, i := range t.watching.Provider().ImagesInProgress() {
			stopped = stopped || i.Running && i.Done.Percent() >= 60
			failed = failed || i.Err != nil
		}
		if stopped && failed {
			return
		}
	}
	test.Fatal("the image makes no progress")
}

func sceneImages(ctx context.Context, t *tour) error {
	_, err := demoPrepare(ctx, t)
	return err
}

func sceneVMs(ctx context.Context, t *tour) error {
	for i, name := range []string{"web", "db", "mail", "build"} {
		t.nas.SetGuest(name, sim.Guest{Addresses: []string{fmt.Sprintf("192.0.2.%d", 10+i)}, IgnoresPowerButton: name == "mail"})
		request := webRequest()
		request.Name, request.UserData, request.NetworksJson = name, nil, `[{"Name":"eth0","Bridge":"br0"}]`
		request.ImageJson = fmt.Sprintf(`{"Path":%q}`, t.prepared)
		id, err := t.create(ctx, request)
		if err != nil {
			return err
		}
		if name == "build" {
			continue
		}
		if _, err := t.client.Power(ctx, &providerv1.PowerRequest{Id: id, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
			return err
		}
		t.web = id
	}
	return t.awaitAddress(ctx)
}

// awaitAddress polls a VM like the manager, until the NAS has the address of its guest.
func (t *tour) awaitAddress(ctx context.Context) error {
	for ctx.Err() == nil {
		vm, err := t.client.Describe(ctx, &providerv1.DescribeRequest{Id: t.web})
		if err != nil || len(vm.GetIps()) > 0 {
			return err
		}
		time.Sleep(pause)
	}
	return ctx.Err()
}

// sceneJob requests the shutdown of a guest that ignores it, so a job of the NAS keeps waiting.
func sceneJob(ctx context.Context, t *tour) error {
	_, err := t.client.Power(ctx, &providerv1.PowerRequest{Id: t.web, Op: providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, GracefulTimeoutSeconds: 300})
	return err
}

func sceneTrouble(ctx context.Context, t *tour) error {
	request := webRequest()
	request.Name, request.ClassJson = "huge", `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"SizeGiB":900000}}`
	if _, err := t.client.Create(ctx, request); status.Code(err) != codes.ResourceExhausted {
		return fmt.Errorf("a disk that is larger than the pool: %w", err)
	}
	return nil
}
