package conformance_test

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/conformance"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/listen"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

var (
	provider          = flag.String("provider", "", "`HOST:PORT` of a provider to test; empty: this project's, on a simulated NAS of each release")
	providerTLS       = flag.String("provider-tls-dir", "", "`folder` with tls.crt, tls.key and ca.crt to reach the provider with; empty: plaintext")
	providerURL       = flag.String("provider-image-url", "", "`URL` of an image that the provider can fetch; it stays on the provider")
	providerImage     = flag.String("provider-image", "", "`path` of an image that VMs are made from; empty: blank disks")
	providerNetwork   = flag.String("provider-network", "", "`name` of what NICs are attached to; empty: no NICs")
	providerStaging   = flag.String("provider-staging", "", "`URL` of a folder that disks are exported to and imported from (s3://bucket/prefix, pvc://claim/folder, nfs://server/export/folder); empty: no disks are moved")
	providerStagingAt = flag.String("provider-staging-at", "", "`where` that is: the endpoint of an S3 service (default: AWS), whose keys are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the folder where it is mounted here")
	providerPool      = flag.String("provider-pool", "", "`pool` to place VMs on; empty: the provider's choice")
)

func TestConformance(t *testing.T) {
	if *provider != "" {
		conformance.Run(t, conformance.Target{
			Client: providerv1.NewProviderClient(dial(t, *provider, *providerTLS)),
			Image:  *providerImage, ImageURL: *providerURL, Network: *providerNetwork, Pool: *providerPool,
			Staging: chosenStaging(t),
		})
		return
	}
	for i, release := range []string{"25.04.2", "25.10", "26", "27"} {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			claims, called := t.TempDir(), &callLog{}
			client, nas := simulated(t, release, claims, called)
			before := nas.State()
			t.Run("with all", func(t *testing.T) {
				staging := claim(t, claims)
				if i%2 == 0 {
					staging = bucket(t)
				}
				conformance.Run(t, conformance.Target{
					Client: client, Image: image, ImageURL: published(t), Network: "br0", Pool: "tank", Staging: staging, Away: away(nas),
				})
				called.covers(t)
			})
			t.Run("with nothing", func(t *testing.T) { conformance.Run(t, conformance.Target{Client: client}) })
			nothingLeft(t, before, nas.State())
		})
	}
}

// away disconnects the NAS.
func away(nas *sim.Sim) func() func() {
	return func() func() {
		nas.SetOffline(true)
		return func() { nas.SetOffline(false) }
	}
}

// image is a prepared image on the simulated NAS.
const image = "tank/virtrigaud/images/gold/disk"

// simulated serves the provider over a simulated NAS.
func simulated(t *testing.T, release, claims string, called *callLog) (providerv1.ProviderClient, *sim.Sim) {
	t.Helper()
	api, nas := truenastest.New(t, truenastest.Release(release))
	for _, dataset := range []string{"tank/virtrigaud", "tank/virtrigaud/images", "tank/virtrigaud/images/gold", "tank/virtrigaud/vms"} {
		if err := nas.AddDataset(dataset, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := nas.AddVolume(image, 10<<30, nil); err != nil {
		t.Fatal(err)
	}
	if err := nas.AddSnapshot(image + "@ready"); err != nil {
		t.Fatal(err)
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	service, err := server.New(api, server.Config{
		ID: "conformance", Dataset: "tank/virtrigaud", Disk: disk.Options{AllowAddresses: loopback, StagingRoot: claims},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Close() })
	return providerv1.NewProviderClient(serve(t, service, called)), nas
}

// published returns the URL of an image on a web server: a raw disk of 4 MiB without a system.
func published(t *testing.T) string {
	t.Helper()
	contents := bytes.Repeat([]byte("\x00conformance\xff"), 4<<20/13+1)[:4<<20]
	contents[510], contents[511] = 0x55, 0xaa // the boot signature of a disk with partitions
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "disk.raw", time.Time{}, bytes.NewReader(contents))
	}))
	t.Cleanup(web.Close)
	return web.URL + "/disk.raw"
}

// serve serves the service over gRPC, with a connection in memory.
func serve(t *testing.T, service *server.Server, called *callLog) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	s := grpc.NewServer(grpc.ChainUnaryInterceptor(listen.Breaker(), server.Interceptor()))
	service.Register(s)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///provider", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(called.note),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return conn
}

// nothingLeft compares the state of the NAS with the earlier one, except for images and empty folders, which stay.
func nothingLeft(t *testing.T, before, after sim.State) {
	t.Helper()
	if before, after = withoutImages(before), withoutImages(after); reflect.DeepEqual(before, after) {
		return
	}
	for _, vm := range after.VMs {
		t.Errorf("VM %s is left", vm.Name)
	}
	for _, d := range after.Datasets {
		if strings.Contains(d.Name, "/vms/") {
			t.Errorf("dataset %s is left", d.Name)
		}
	}
	t.Errorf("the NAS changed:\nbefore %+v\nafter  %+v", before, after)
}

// withoutImages returns a state without the objects that stay: images, folders of work in progress, and the mark of the
// installation that uses the dataset.
func withoutImages(s sim.State) sim.State {
	isImage := func(name string) bool {
		return strings.HasPrefix(name, "tank/virtrigaud/images/") || name == "tank/virtrigaud/staging" || name == "tank/virtrigaud/imports"
	}
	s.Datasets = slices.DeleteFunc(s.Datasets, func(d sim.DatasetState) bool { return isImage(d.Name) })
	s.Snapshots = slices.DeleteFunc(s.Snapshots, func(n sim.SnapshotState) bool { return isImage(n.ID) })
	for i, d := range s.Datasets {
		if d.Name == "tank/virtrigaud" {
			user := map[string]string{}
			maps.Copy(user, d.User)
			maps.DeleteFunc(user, func(key, _ string) bool { return strings.HasPrefix(key, "virtrigaud:installation-") })
			s.Datasets[i].User = user
		}
	}
	return s
}

// TestImageOfAnHTTPSource checks a refusal of this provider: for a VMImage with source.http the manager sends an empty image with
// the format "template". A blank disk in its place would be a VM that never boots.
func TestImageOfAnHTTPSource(t *testing.T) {
	client, nas := simulated(t, "25.10", t.TempDir(), &callLog{})
	before := nas.State()
	_, err := client.Create(t.Context(), &providerv1.CreateRequest{
		Name: "vmhttp", ClassJson: `{"CPU":4,"MemoryMiB":4096,"Firmware":"BIOS","DiskDefaults":null}`,
		ImageJson: `{"TemplateName":"","Path":"","URL":"","Format":"template","Checksum":"","ChecksumType":"sha256"}`,
	})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "image_json.Path") || !strings.Contains(err.Error(), "source.libvirt") {
		t.Errorf("%v; want InvalidArgument with the remedy", err)
	}
	nothingLeft(t, before, nas.State())
}
