package omni

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas/sim"
)

func TestHealthReportsFaults(t *testing.T) {
	for _, tt := range []struct {
		name      string
		configure func(*sim.Config)
		spoil     func(*sim.Sim)
		want      string
	}{
		{"the NAS is away", nil, func(nas *sim.Sim) { nas.SetOffline(true) }, "nas cannot be reached"},
		{"the key is refused", func(c *sim.Config) {
			c.Keys = []sim.Key{{Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Expired: true}}
		}, nil, "nas cannot be used"},
		{"the pool is missing", func(c *sim.Config) { c.Pools = []sim.Pool{{Name: "other", SizeBytes: 1 << 40}} }, nil, `no pool "tank"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, release := range releases {
				t.Run(release, func(t *testing.T) {
					t.Parallel()
					client, nas := onNAS(t, release, tt.configure)
					if tt.spoil != nil {
						tt.spoil(nas)
					}
					w := newWorld(t, Backend{Name: "nas", Client: client})
					p, err := New(w.cfg)
					if err != nil {
						t.Fatal(err)
					}
					if got := p.Health(t.Context()); got == nil || !strings.Contains(got.Error(), tt.want) {
						t.Errorf("the health text is %v, want %s", got, tt.want)
					}
				})
			}
		})
	}
}

func TestHealthReportsLackOfResources(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, nas *sim.Sim) {
		_, stop := w.start()
		w.request("one", strings.Replace(class, "memory: 2048", "memory: 999999", 1))
		w.failed("one", "nas lacks resources for this machine")
		w.health("one: nas lacks resources for this machine")
		w.checkRelease(nas, "one")
		w.health("")
		stop()
	})
}

// hanging is a provider whose Validate never returns.
type hanging struct{ providerv1.ProviderClient }

func (hanging) Validate(ctx context.Context, _ *providerv1.ValidateRequest, _ ...grpc.CallOption) (*providerv1.ValidateResponse, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

func TestHealthDoesNotHang(t *testing.T) {
	t.Parallel()
	other := newForeign()
	client := servertest.Dial(t, func(r grpc.ServiceRegistrar) { providerv1.RegisterProviderServer(r, other) })
	w := newWorld(t, Backend{Name: "other", Client: hanging{client}})
	p, err := New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if got := p.Health(t.Context()); got == nil || !strings.Contains(got.Error(), "other did not respond in time") {
		t.Errorf("the health text is %v", got)
	}
	if took := time.Since(begin); took > healthTimeout {
		t.Errorf("it took %v", took)
	}
}

func TestConfigMistakes(t *testing.T) {
	w := newWorld(t, Backend{Name: "nas", Client: providerv1.NewProviderClient(nil)})
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no providers", func(c *Config) { c.Providers = nil }, "at least one backend"},
		{"one name twice", func(c *Config) { c.Providers = append(c.Providers, c.Providers...) }, "used twice"},
		{"no Omni", func(c *Config) { c.State = nil }, "State and Factory"},
		{"an unknown image format", func(c *Config) { c.ImageFormat = "iso" }, "image format"},
		{"a health interval that Omni treats as an outage", func(c *Config) { c.HealthInterval = time.Minute }, "health interval"},
		{"an unknown way with orphans", func(c *Config) { c.Orphans = "adopt" }, "orphans"},
		{"a second id in one process", func(c *Config) { c.ID = "another" }, "cannot be"},
	} {
		cfg := w.cfg
		tt.change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
