package omni

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// The first step reports a bridge or VLAN that the NAS does not have, before any image is fetched.
func TestBadNetworkIsReportedBeforeTheImage(t *testing.T) {
	for _, tt := range []struct{ name, network, says string }{
		{"bridge", "network_bridge: br7\n", `the NAS has no "br7"`},
		{"VLAN", "vlan: 99\n", "VLAN tag 99"},
		{"bridge of the second NIC", "additional_nics: [{network_bridge: br7}]\n", "additional_nics[0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
				_, stop := w.start()
				w.request("one", class+tt.network)
				w.failed("one", tt.says)
				if !strings.Contains(w.status("one").TypedSpec().Value.GetStatus(), "check the machine class") {
					t.Errorf("status %q", w.status("one").TypedSpec().Value.GetStatus())
				}
				stop()
				if fetched := w.factory.Fetched(); len(fetched) > 0 {
					t.Errorf("fetched %v", fetched)
				}
				if left := leftovers(nas); len(left) > 0 {
					t.Errorf("left on the NAS: %v", left)
				}
			})
		})
	}
}

// updatedProvider is a provider whose capabilities change.
type updatedProvider struct {
	providerv1.ProviderClient
	types []string
	err   error
}

func (p *updatedProvider) GetCapabilities(context.Context, *providerv1.GetCapabilitiesRequest, ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
	return &providerv1.GetCapabilitiesResponse{SupportedDiskTypes: p.types}, p.err
}

// TestCapabilitiesAreReadAgain updates a backend while the adapter runs.
func TestCapabilitiesAreReadAgain(t *testing.T) {
	away := errors.New("away")
	p := &updatedProvider{types: []string{"thin"}, err: away}
	b := &backend{name: "nas", client: p}
	for _, step := range []struct {
		name string
		do   func()
		want []string // nil: an error
	}{
		{"never read", func() {}, nil},
		{"first", func() { p.err = nil }, []string{"thin"}},
		{"updated a moment ago", func() { p.types = []string{"thick"} }, []string{"thin"}},
		{"away when they are old", func() { b.canRead, p.err = time.Now().Add(-checkedAge), away }, []string{"thin"}},
		{"updated", func() { p.err = nil }, []string{"thick"}},
	} {
		step.do()
		can, err := b.capabilities(t.Context())
		if (err == nil) != (step.want != nil) || !slices.Equal(can.GetSupportedDiskTypes(), step.want) {
			t.Errorf("%s: got %v, %v; want %v", step.name, can.GetSupportedDiskTypes(), err, step.want)
		}
	}
}

// plainProvider is another provider of the contract, without extensions.
type plainProvider struct {
	providerv1.ProviderClient
	creates int
}

func (p *plainProvider) GetCapabilities(ctx context.Context, req *providerv1.GetCapabilitiesRequest, _ ...grpc.CallOption) (*providerv1.GetCapabilitiesResponse, error) {
	return p.ProviderClient.GetCapabilities(ctx, req)
}

func (p *plainProvider) Create(ctx context.Context, req *providerv1.CreateRequest, opts ...grpc.CallOption) (*providerv1.CreateResponse, error) {
	if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get(headerDryRun)) == 0 {
		p.creates++
	} else {
		panic("a dry run was sent to a provider that would create the VM")
	}
	return p.ProviderClient.Create(ctx, req, opts...)
}

func TestNoDryRunWithoutExtension(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	plain := &plainProvider{ProviderClient: client}
	w := newWorld(t, Backend{Name: "nas", Client: plain})
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	stop()
	if plain.creates == 0 {
		t.Error("Create was not called")
	}
}

// The request's status shows the progress of an image.
func TestProgressOfAnImageIsShown(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		for _, convert := range []string{"vm.device.convert", "vm.import_disk_image"} {
			nas.Inject(sim.Fault{Method: convert, Then: sim.LongJob, Delay: time.Second})
		}
		_, stop := w.start()
		w.request("one", class)
		until(t, "the status shows percent and speed", func() bool {
			text := w.status("one").TypedSpec().Value.GetError()
			return strings.HasPrefix(text, "image talos-1.12.3-") && strings.Contains(text, " % of ") && strings.Contains(text, "MiB/s")
		})
		w.complete(nas, "one")
		if text := w.status("one").TypedSpec().Value.GetError(); text != "" {
			t.Errorf("after the image is ready the status says %q", text)
		}
		stop()
	})
}
