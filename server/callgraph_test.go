package server_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// callGraph measures how many calls to the NAS have to follow one another. A call can depend only on calls that had ended
// before it began, so its depth is one more than the largest depth among those. No clock is involved: a slow machine makes
// calls longer and not deeper, as long as calls that are independent of each other overlap.
type callGraph struct {
	mu     sync.Mutex
	ended  int // largest depth of the calls that have ended
	depth  int // largest depth of all calls
	called []string
}

// trace is a [truenas.Hooks.Trace].
func (g *callGraph) trace(ctx context.Context, name string) (context.Context, func(error)) {
	if strings.HasPrefix(name, "job ") || name == "core.arp" {
		return ctx, func(error) {} // The wait for a job is not a call, and one read of the ARP table serves all VMs.
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	depth := g.ended + 1
	g.depth, g.called = max(g.depth, depth), append(g.called, name)
	return ctx, func(error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.ended = max(g.ended, depth)
	}
}

// reset begins a new graph.
func (g *callGraph) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended, g.depth, g.called = 0, 0, nil
}

// result returns the calls in the order in which they began, and the depth of their graph.
func (g *callGraph) result() (calls []string, depth int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.called...), g.depth
}

// graphed connects a client, whose calls are measured, to a simulated NAS.
func graphed(t testing.TB, configure ...func(*sim.Config)) (*truenas.Client, *sim.Sim, *callGraph) {
	t.Helper()
	nas, listener := truenastest.Serve(t, configure...)
	g := &callGraph{}
	cfg := truenastest.Config(listener)
	cfg.Hooks.Trace = g.trace
	client, err := truenas.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, nas, g
}

func TestCallGraph(t *testing.T) {
	t.Parallel()
	g := &callGraph{}
	begin := func(name string) func(error) {
		_, end := g.trace(t.Context(), name)
		return end
	}
	first, beside := begin("a"), begin("b")
	first(nil)
	dependent := begin("c") // It may depend on a, and overlaps b.
	beside(nil)
	waited := begin("job 7")
	waited(nil)
	dependent(nil)
	begin("d")(nil)
	if calls, depth := g.result(); strings.Join(calls, "") != "abcd" || depth != 3 {
		t.Errorf("calls %v of depth %d; want abcd of depth 3", calls, depth)
	}
	g.reset()
	if calls, depth := g.result(); len(calls) != 0 || depth != 0 {
		t.Errorf("after a reset: calls %v of depth %d", calls, depth)
	}
}
