package omni

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cosi-project/runtime/pkg/resource"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	"google.golang.org/protobuf/encoding/protowire"

	"virtrigaud-provider-truenas/omni/standin"
	"virtrigaud-provider-truenas/truenas/sim"
)

// The adapter requests the fastest format that the factory serves, once for all machines.
func TestFastestImageFormat(t *testing.T) {
	for _, tt := range []struct {
		name   string
		serves []string
		want   string
		asked  int
	}{
		{"everything", []string{"raw.zst", "raw.xz", "qcow2"}, ".raw.zst", 1},
		{"only xz, as before Talos 1.8", []string{"raw.xz", "qcow2"}, ".raw.xz", 2},
		{"only qcow2", []string{"qcow2"}, ".qcow2", 3},
		{"only zst", []string{"raw.zst"}, ".raw.zst", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
				w.factory.SetFormats(tt.serves...)
				_, stop := w.start()
				for _, id := range []string{"one", "two"} {
					w.request(id, class)
					w.provisioned(id)
				}
				stop()
				fetched := w.factory.Fetched()
				if len(fetched) == 0 || slices.ContainsFunc(fetched, func(path string) bool { return !strings.HasSuffix(path, "nocloud-amd64"+tt.want) }) {
					t.Errorf("fetched %v; want %s", fetched, tt.want)
				}
				if asked := w.factory.Asked(); len(asked) < tt.asked || len(asked) > tt.asked+1 { // The backend may ask once more.
					t.Errorf("requested %v; want %d", asked, tt.asked)
				}
			})
		})
	}
}

// A factory that is unreachable for the adapter may be reachable for the backend. The adapter then uses the format that every
// factory serves.
func TestFormatOfUnreachableFactory(t *testing.T) {
	answers := http.StatusServiceUnavailable
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(answers) }))
	defer web.Close()
	f := &formats{}
	if got := f.of(t.Context(), web.URL, "v1.12.3", web.URL+"/image/s/v1.12.3/nocloud-amd64", nil, logger(t)); got != "raw.xz" {
		t.Errorf("format %s; want raw.xz", got)
	}
	answers = http.StatusOK
	if got := f.of(t.Context(), web.URL, "v1.12.3", web.URL+"/image/s/v1.12.3/nocloud-amd64", nil, logger(t)); got != "raw.zst" {
		t.Errorf("format %s; want raw.zst once the factory answers", got)
	}
}

// Omni 1.10 may have a Talos version in its secondary factory.
func TestFactoryOfATalosVersion(t *testing.T) {
	client, nas := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	secondary := &standin.Factory{}
	web := httptest.NewServer(secondary)
	defer web.Close()
	w.inFactory(web.URL)
	secondary.Share(w.factory)
	_, stop := w.start()
	w.request("one", class)
	w.complete(nas, "one")
	stop()
	if len(secondary.Fetched()) == 0 || len(w.factory.Fetched()) != 0 {
		t.Errorf("the secondary factory served %v and the primary %v", secondary.Fetched(), w.factory.Fetched())
	}
}

// inFactory makes Omni name an image factory for the Talos version.
func (w *world) inFactory(address string) {
	w.t.Helper()
	version := omnires.NewTalosVersion(talos)
	field := protowire.AppendTag(nil, factoryField, protowire.BytesType)
	version.TypedSpec().Value.ProtoReflect().SetUnknown(protowire.AppendString(field, address))
	if err := w.omni.Create(w.t.Context(), resource.Resource(version)); err != nil {
		w.t.Fatal(err)
	}
}
