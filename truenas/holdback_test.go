package truenas_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestLateChange delays a deletion on the NAS until its link has broken, or its process was killed, and the deletion has been
// repeated. If changes were not held back, the late deletion would destroy a dataset that was created again under the same name.
func TestLateChange(t *testing.T) {
	const (
		late = 200 * time.Millisecond
		name = "tank/again"
	)
	for title, harm := range map[string]func(*testing.T, *sim.Sim, truenas.Config, *truenas.Client) *truenas.Client{
		"the link breaks": func(_ *testing.T, nas *sim.Sim, _ truenas.Config, c *truenas.Client) *truenas.Client {
			nas.CutConnections()
			return c
		},
		"the process is killed": func(t *testing.T, _ *sim.Sim, cfg truenas.Config, c *truenas.Client) *truenas.Client {
			ok(t, c.Close())
			return newClient(t, cfg)
		},
	} {
		t.Run(title, func(t *testing.T) {
			nas, address := truenastest.Serve(t)
			cfg := truenastest.Config(address)
			cfg.Holdback = 2 * late
			c, ctx := newClient(t, cfg), bounded(t)
			must(c.Datasets.Create(ctx, truenas.DatasetCreate{Name: name}))(t)
			nas.Inject(sim.Fault{Method: "pool.dataset.delete", Then: sim.Delay, Delay: late})
			received := make(chan struct{}, 2)
			nas.OnCall(func(_ int, method string) {
				if method == "pool.dataset.delete" {
					received <- struct{}{}
				}
			})
			answered := make(chan error)
			go func() { answered <- c.Datasets.Delete(ctx, name, truenas.DatasetDelete{}) }()
			<-received
			began := time.Now()
			c = harm(t, nas, cfg, c)
			if err := <-answered; !errors.Is(err, truenas.ErrUncertain) {
				t.Errorf("the first deletion: %v", err)
			}
			if err := c.Datasets.Delete(ctx, name, truenas.DatasetDelete{}); err != nil && !errors.Is(err, truenas.ErrNotFound) {
				t.Errorf("the second deletion: %v", err)
			}
			must(c.Datasets.Create(ctx, truenas.DatasetCreate{Name: name}))(t)
			time.Sleep(time.Until(began.Add(2 * late))) // The late deletion has run by now.
			must(c.Datasets.Get(ctx, name))(t)
		})
	}
}

// TestReadsAreNotHeldBack uses a client that holds changes back forever.
func TestReadsAreNotHeldBack(t *testing.T) {
	nas, address := truenastest.Serve(t)
	cfg := truenastest.Config(address)
	cfg.Holdback = time.Hour
	c := newClient(t, cfg)
	ctx, cancel := context.WithTimeout(bounded(t), 50*time.Millisecond)
	defer cancel()
	_, err := c.Datasets.Create(ctx, truenas.DatasetCreate{Name: "tank/a"})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, truenas.ErrUncertain) {
		t.Errorf("a change: %v", err)
	}
	must(c.Datasets.List(bounded(t)))(t)
	if calls := nas.Calls(); !slices.Equal(calls, []string{"system.version", "pool.dataset.query"}) {
		t.Errorf("sent: %v", calls)
	}
}

func newClient(t *testing.T, cfg truenas.Config) *truenas.Client {
	t.Helper()
	c := must(truenas.New(cfg))(t)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
