package omni

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// lockedOut is an Omni that rejects the key of the service account while rejects is set.
type lockedOut struct {
	state.State
	rejects atomic.Bool
}

func (l *lockedOut) List(ctx context.Context, kind resource.Kind, opts ...state.ListOption) (resource.List, error) {
	if l.rejects.Load() && kind.Type() == infrares.MachineRequestType {
		return resource.List{}, status.Error(codes.Unauthenticated, "invalid signature")
	}
	return l.State.List(ctx, kind, opts...)
}

// Run ends with the remedy after Omni has rejected the key for long. Before that the provider is not ready, and it recovers if
// Omni accepts the key.
func TestRejectedKey(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	there := &lockedOut{State: w.omni}
	w.cfg.State, w.cfg.KeyPatience = there, time.Hour
	p, err := New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	looker := &watcher{Provisioner: p, first: map[string]time.Time{}}
	looker.look(t.Context())
	if err := p.Ready(); err != nil {
		t.Fatal(err)
	}
	there.rejects.Store(true)
	looker.look(t.Context())
	err = p.Ready()
	if !errors.Is(err, ErrKeyRejected) || !strings.Contains(err.Error(), "omnictl infraprovider renewkey "+providerID) {
		t.Fatalf("%v; want the remedy", err)
	}
	there.rejects.Store(false)
	looker.look(t.Context())
	if err := p.Ready(); err != nil {
		t.Fatalf("the key is accepted again: %v", err)
	}
	there.rejects.Store(true)
	p.cfg.KeyPatience = time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- p.Run(t.Context()) }()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrKeyRejected) {
			t.Errorf("Run ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Run continues with a key that Omni rejects")
	}
}

// Other failures of Omni do not end Run.
func TestUnavailableOmniDoesNotRejectKey(t *testing.T) {
	if err := ExplainRejection(status.Error(codes.Unavailable, "away"), "truenas"); errors.Is(err, ErrKeyRejected) {
		t.Error(err)
	}
}

func TestProviderIDIsADNSLabel(t *testing.T) {
	for id, want := range map[string]bool{
		"truenas": true, "nas-1": true, "1": true, "": false, "NAS": false, "nas_1": false, "nas.1": false, "-nas": false, "nas-": false,
		strings.Repeat("a", 63): true, strings.Repeat("a", 64): false,
	} {
		if got := IsProviderID(id); got != want {
			t.Errorf("%q: %v, want %v", id, got, want)
		}
	}
}

// The version is field 5 of the provider's status. Fields that this client does not know are kept.
func TestVersionIsPublished(t *testing.T) {
	client, _ := onNAS(t, "25.10", nil)
	w := newWorld(t, Backend{Name: "nas", Client: client})
	for _, version := range []string{"v1.0.0", "v1.1.0"} {
		w.cfg.Version = version
		_, stop := w.start()
		until(t, "the version is published", func() bool {
			got, err := safe.ReaderGetByID[*infrares.ProviderStatus](t.Context(), w.omni, providerID)
			return err == nil && versionOf(got.TypedSpec().Value) == version && got.TypedSpec().Value.GetName() != ""
		})
		stop()
	}
}
