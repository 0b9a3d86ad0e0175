package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cosi "github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/siderolabs/omni/client/pkg/infra/imagefactory"
	infrares "github.com/siderolabs/omni/client/pkg/omni/resources/infra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/omni"
	"virtrigaud-provider-truenas/omni/standin"
)

// lockedOut is an Omni that rejects the key of the service account while rejects is set.
type lockedOut struct {
	state.State
	rejects atomic.Bool
}

func (l *lockedOut) List(ctx context.Context, kind cosi.Kind, opts ...state.ListOption) (cosi.List, error) {
	if l.rejects.Load() && kind.Type() == infrares.MachineRequestType {
		return cosi.List{}, status.Error(codes.Unauthenticated, "invalid signature")
	}
	return l.State.List(ctx, kind, opts...)
}

// A replica whose key Omni rejects is not ready, reports the remedy, and sets a metric.
func TestRejectedKeyIsNotReady(t *testing.T) {
	standing, err := standin.Omni(t.Context(), demoID, "http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	there := &lockedOut{State: standing}
	factory, err := imagefactory.NewDirectClient(imagefactory.ClientOptions{FactoryEndpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	away, err := grpc.NewClient("127.0.0.1:1", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = away.Close() }()
	p, err := omni.New(omni.Config{
		ID: demoID, State: there, Factory: factory, WatchInterval: 10 * time.Millisecond, KeyPatience: time.Hour,
		Providers: []omni.Backend{{Name: "nas", Client: providerv1.NewProviderClient(away)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := newAdapterMetrics()
	m.working.Store(p)
	web := probes(http.NotFoundHandler(), m.ready)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() { stop(); <-ended }()
	for _, tt := range []struct {
		rejects bool
		code    int
		text    string
		metric  float64
	}{
		{false, http.StatusOK, "ok", 1},
		{true, http.StatusServiceUnavailable, "omnictl infraprovider renewkey " + demoID, 0},
		{false, http.StatusOK, "ok", 1},
	} {
		there.rejects.Store(tt.rejects)
		var answer *httptest.ResponseRecorder
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			answer = httptest.NewRecorder()
			web.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if answer.Code == tt.code {
				break
			}
		}
		if answer.Code != tt.code || !strings.Contains(answer.Body.String(), tt.text) {
			t.Errorf("rejects %v: /readyz returns %d %q", tt.rejects, answer.Code, answer.Body)
		}
		if got := accepted(t, m); got != tt.metric {
			t.Errorf("rejects %v: the metric is %v, want %v", tt.rejects, got, tt.metric)
		}
	}
}

// accepted returns the metric of the key.
func accepted(t *testing.T, m *adapterMetrics) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if strings.HasSuffix(family.GetName(), "_omni_key_accepted") {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("the key's metric is missing")
	return 0
}
