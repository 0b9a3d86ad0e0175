//go:build e2e

package e2e

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/siderolabs/omni/client/api/omni/specs"
	"github.com/siderolabs/omni/client/pkg/infra/imagefactory"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"

	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/omni/standin"
)

const (
	omniID = "truenas"
	class  = `cores: 1
memory: 1024
disk_size: 10
storage_pool: tank
network_bridge: br0
firmware: BIOS
ip_addresses: [192.0.2.40]
ip_prefix: 24
ip_gateway: 192.0.2.1
additional_nics: [{network_bridge: br20}]
`
)

// TestGuestOfOmni creates a machine through the Omni adapter. Its image is the test guest instead of Talos, so the machine does
// not join. But it has the disk, the seed, the address and the UUID with which a Talos machine would join.
func TestGuestOfOmni(t *testing.T) {
	log := newTimeline()
	home := newSite(t, log, "the NAS", "26")
	before := home.nas.State()
	st := adapter(t, home)
	asked := time.Now()
	if err := standin.Request(t.Context(), st, omniID, "talos-workers-abc123", "workers", "1.12.3", class); err != nil {
		t.Fatal(err)
	}
	log.say("a machine is requested in Omni")
	uuid := provisioned(t, home, st, "talos-workers-abc123")
	log.say("Omni shows it as provisioned, with the UUID %s", uuid)
	g := home.guest("Omni's machine", uuid)
	g.requested = asked
	g.await("cold: requested in Omni, the factory's image is fetched first")
	g.ownIdentity()
	g.holds("firmware", "bios")
	g.holds("name", "talos-workers-abc123")
	if got := g.address("eth0"); got != "192.0.2.40" {
		t.Errorf("its address is %s", got)
	}
	if !strings.HasPrefix(g.report.one("disk"), "vda 10737418240 ") || len(g.report["nic"]) != 2 {
		t.Errorf("it has the disks %q and the NICs %q", g.report["disk"], g.report["nic"])
	}
	join := g.command("show user-data", "apiUrl: ")
	if !strings.Contains(join, "omni.example") {
		t.Errorf("its user data contains the address %q", join)
	}
	log.say("its seed leads it to Omni")
	ctx, cancel := context.WithTimeout(t.Context(), bootPatience)
	defer cancel()
	if err := standin.Release(ctx, st, "talos-workers-abc123"); err != nil {
		t.Fatal(err)
	}
	log.say("it was released, and is gone")
	nothingLeft(t, home, before)
	log.summary()
}

// adapter runs the Omni adapter for a site, with an image factory that serves the test guest.
func adapter(t *testing.T, home *site) state.State {
	t.Helper()
	factory := &standin.Factory{}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/nocloud-amd64.qcow2") {
			http.ServeFile(w, r, filepath.Join(*guestDir, "guest.qcow2"))
			return
		}
		factory.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	st, err := standin.Omni(t.Context(), omniID, web.URL)
	if err != nil {
		t.Fatal(err)
	}
	schematics, err := imagefactory.NewDirectClient(imagefactory.ClientOptions{FactoryEndpoint: web.URL})
	if err != nil {
		t.Fatal(err)
	}
	p, err := omni.New(omni.Config{
		ID: omniID, Providers: []omni.Backend{{Name: "nas", Client: home.rpc}}, State: st, Factory: schematics, ImageFormat: "qcow2",
		Origin: "omni.example", Pace: omni.Pace{Poll: 100 * time.Millisecond}, StopTimeout: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.Run(ctx) // The cleanup stops it.
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return st
}

// provisioned waits until Omni shows a request as provisioned, and returns the UUID in its status.
func provisioned(t *testing.T, home *site, st state.State, id string) string {
	t.Helper()
	stages := []specs.MachineRequestStatusSpec_Stage{specs.MachineRequestStatusSpec_PROVISIONED, specs.MachineRequestStatusSpec_FAILED}
	var last *specs.MachineRequestStatusSpec
	home.until("the request is provisioned", time.Minute, func() bool {
		status, err := safe.ReaderGetByID[*infrares.MachineRequestStatus](t.Context(), st, id)
		if err != nil {
			return false
		}
		last = status.TypedSpec().Value
		return slices.Contains(stages, last.GetStage())
	})
	if last.GetStage() == specs.MachineRequestStatusSpec_FAILED {
		t.Fatalf("Omni shows %s", last.GetError())
	}
	return last.GetId()
}
