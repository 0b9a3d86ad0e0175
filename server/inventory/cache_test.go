package inventory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// newCache returns the copy of a NAS with so many VMs, and the VMs.
func newCache(t *testing.T, vms int) (*Cache, *sim.Sim, []truenas.VM) {
	t.Helper()
	api, nas := truenastest.New(t)
	inv := New(api)
	t.Cleanup(inv.Close)
	for i := range vms {
		if err := nas.AddVM(fmt.Sprint("vm", i), 1, 512); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := inv.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	subscribed(inv)
	list, err := inv.List(t.Context())
	if err != nil || len(list) != vms {
		t.Fatalf("got %+v, %v", list, err)
	}
	return inv, nas, list
}

// subscribed waits until the events of a new connection have begun.
func subscribed(inv *Cache) {
	begun := func() bool {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		return inv.devices && inv.nas.Heard() >= 2 // Of VMs, and of devices.
	}
	for deadline := time.Now().Add(10 * time.Second); !begun() && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
}

// queries counts the queries for VMs.
func queries(nas *sim.Sim) int {
	return len(slices.DeleteFunc(nas.Calls(), func(method string) bool { return method != "vm.query" }))
}

// TestQueriesInFlightKeepTheirMarks: the marks of replies go only when no query is in flight that they could judge.
func TestQueriesInFlightKeepTheirMarks(t *testing.T) {
	inv, _, _ := newCache(t, 0)
	fill := func() {
		for i := range settleAt {
			inv.roster.queried[fmt.Sprint(i)] = 1
		}
	}
	never := func() bool { return false }
	inv.begin()
	inv.begin()
	fill()
	inv.end(never)
	if len(inv.roster.queried) < settleAt {
		t.Error("the marks went although a query is in flight")
	}
	inv.end(never)
	if len(inv.roster.queried) > 0 {
		t.Error("the marks remain although no query is in flight")
	}
	fill()
	inv.begin()
	inv.end(never)
	if len(inv.roster.queried) > 0 {
		t.Error("the marks remain after a later query")
	}
}

// TestGetReadsOnlyStaleVMs: the copy serves current VMs; a stale one is read alone, and many stale ones as a list.
func TestGetReadsOnlyStaleVMs(t *testing.T) {
	inv, nas, vms := newCache(t, maxStale)
	get := func(uuid string, want int) {
		t.Helper()
		before := queries(nas)
		if vm, err := inv.Get(t.Context(), uuid); err != nil || vm.UUID != uuid {
			t.Errorf("got %+v, %v", vm, err)
		}
		if got := queries(nas) - before; got != want {
			t.Errorf("%d queries, want %d", got, want)
		}
	}
	get(vms[0].UUID, 0)
	if hits, misses := inv.Counts(); hits != 1 || misses != 0 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
	for _, vm := range vms[1:] {
		inv.Invalidate(vm.UUID)
	}
	get(vms[0].UUID, 0) // Fewer are stale than make a list worthwhile.
	get(vms[1].UUID, 1)
	if hits, misses := inv.Counts(); hits != 2 || misses != 1 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
	for _, vm := range vms {
		inv.Invalidate(vm.UUID)
	}
	get(vms[2].UUID, 1)
	get(vms[3].UUID, 0)
	if _, err := inv.Get(t.Context(), "unknown"); !errors.Is(err, truenas.ErrNotFound) || err.Error() != Absent("unknown").Error() {
		t.Errorf("an unknown VM: %v", err)
	}
}

// TestOldCopyIsReadAgain: without events of devices the copy is read again after a while, in the background and once.
func TestOldCopyIsReadAgain(t *testing.T) {
	inv, nas, vms := newCache(t, 1)
	age := func(devices bool, age time.Duration) {
		inv.mu.Lock()
		defer inv.mu.Unlock()
		inv.devices, inv.read = devices, time.Now().Add(-age)
	}
	get := func() {
		if _, err := inv.Get(t.Context(), vms[0].UUID); err != nil {
			t.Error(err)
		}
	}
	before := queries(nas)
	age(true, 2*maxAge)
	get()
	age(false, maxAge/2)
	get()
	time.Sleep(10 * time.Millisecond)
	if got := queries(nas) - before; got != 0 {
		t.Errorf("%d queries although the copy is kept current, or is young", got)
	}
	age(false, 2*maxAge)
	get()
	get()
	for deadline := time.Now().Add(10 * time.Second); queries(nas) == before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	if got := queries(nas) - before; got != 1 {
		t.Errorf("%d queries of an old copy", got)
	}
}

// TestEventsOfDevices: the first event reports whether the key may have them.
func TestEventsOfDevices(t *testing.T) {
	inv, _, _ := newCache(t, 0)
	for kind, want := range map[truenas.EventKind]bool{truenas.EventReset: true, truenas.EventLost: false} {
		inv.devices = !want
		if inv.handleDevice(truenas.Event{Kind: kind, Seq: 1}); inv.devices != want {
			t.Errorf("%v: devices is %t", kind, inv.devices)
		}
	}
}

// TestPeek shows the copy as it is, and reads the list only when it has none, is connected, and has not just tried.
func TestPeek(t *testing.T) {
	api, nas := truenastest.New(t)
	inv := New(api)
	t.Cleanup(inv.Close)
	if err := nas.AddVM("web", 1, 512); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name      string
		do        func()
		connected bool
		vms       int
		known     bool
		queries   int
	}{
		{"no connection", nil, false, 0, false, 0},
		{"the first time, and it fails", func() { nas.Inject(sim.Fault{Method: "vm.query", Then: sim.Refuse}) }, true, 0, false, 1},
		{"just tried", func() { subscribed(inv) }, true, 0, false, 1},
		{"later", func() { inv.looked = time.Now().Add(-peekInterval) }, true, 1, true, 2},
		{"the copy is complete", func() { inv.looked = time.Time{} }, true, 1, true, 2},
		{"events were lost, without a connection", func() { inv.handle(truenas.Event{Kind: truenas.EventLost, Seq: api.Heard() + 1}, inv.roster.vmEvent) }, false, 1, true, 2},
	} {
		if step.do != nil {
			step.do()
		}
		vms, known := inv.Peek(t.Context(), step.connected)
		if got := queries(nas); len(vms) != step.vms || known != step.known || got != step.queries {
			t.Errorf("%s: got %d VMs, %t after %d queries", step.name, len(vms), known, got)
		}
	}
}

// TestRepliesThatAreAlwaysTooOld ends with an error that callers retry.
func TestRepliesThatAreAlwaysTooOld(t *testing.T) {
	inv, _, _ := newCache(t, 0)
	calls := 0
	call := func(context.Context) (int, error) { calls++; return 7, nil }
	if got, err := attempt(t.Context(), inv, call, func(int, Moment) bool { return true }); !errors.Is(err, truenas.ErrUnavailable) || got != 0 || calls != maxAttempts {
		t.Errorf("got %d, %v after %d calls", got, err, calls)
	}
	calls = 0
	if got, err := attempt(t.Context(), inv, call, func(int, Moment) bool { return calls < 2 }); err != nil || got != 7 || calls != 2 {
		t.Errorf("got %d, %v after %d calls", got, err, calls)
	}
}

// TestPut stores what this process has just read or changed.
func TestPut(t *testing.T) {
	inv, nas, vms := newCache(t, 1)
	before := inv.Mark()
	changed := vms[0]
	changed.Status.State = truenas.StateRunning
	inv.Put(changed, before)
	if vm, ok := inv.Cached(changed.UUID); !ok || vm.Status.State != truenas.StateRunning {
		t.Errorf("got %+v, %t", vm, ok)
	}
	inv.Put(vms[0], before) // It may be older than what was stored.
	if vm, ok := inv.Cached(changed.UUID); ok {
		t.Errorf("got %+v", vm)
	}
	asked := queries(nas)
	if vm, err := inv.Get(t.Context(), changed.UUID); err != nil || vm.Status.State != truenas.StateStopped || queries(nas) != asked+1 {
		t.Errorf("got %+v, %v", vm, err)
	}
}
