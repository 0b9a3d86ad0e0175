package truenas

import (
	"fmt"
	"testing"
	"time"
)

// listen collects events.
func listen(c *Client, collection string) (events chan Event, cancel func()) {
	events = make(chan Event, 2*backlog)
	return events, c.Subscribe(collection, func(e Event) { events <- e })
}

func nextEvent(t *testing.T, events chan Event) Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		return Event{}
	}
}

func wantKinds(t *testing.T, events chan Event, kinds ...EventKind) {
	t.Helper()
	for i, want := range kinds {
		if e := nextEvent(t, events); e.Kind != want {
			t.Fatalf("event %d has kind %d, not %d", i, e.Kind, want)
		}
	}
}

func TestEvents(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client()
	events, cancel := listen(c, "vm.query")
	defer cancel()
	p := nas.nextPeer()
	wantKinds(t, events, EventReset)
	p.event("vm.query", "added", 7, map[string]any{"name": "a"})
	p.event("vm.query", "changed", 7, map[string]any{"name": "b"})
	p.event("vm.query", "removed", 7, nil)
	p.event("vm.query", "pondered", 7, nil)
	p.event("disk.query", "added", "sda", nil)
	if e := nextEvent(t, events); e.Kind != EventAdded || e.ID != 7 || string(e.Fields) != `{"name":"a"}` {
		t.Errorf("got %+v", e)
	}
	wantKinds(t, events, EventChanged, EventRemoved)
	p.cut()
	wantKinds(t, events, EventLost, EventReset)
	nas.nextPeer().event("vm.query", "added", 8, nil)
	if e := nextEvent(t, events); e.ID != 8 {
		t.Errorf("after the reconnection: %+v", e)
	}
}

func TestSubscribeWhileConnected(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client()
	if err := c.Connect(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	p := nas.nextPeer()
	first, cancelFirst := listen(c, "vm.query")
	wantKinds(t, first, EventReset)
	second, cancelSecond := listen(c, "vm.query")
	wantKinds(t, second, EventReset)
	p.event("vm.query", "added", 7, nil)
	wantKinds(t, first, EventAdded)
	wantKinds(t, second, EventAdded)
	cancelFirst()
	cancelFirst()
	p.event("vm.query", "changed", 7, nil)
	wantKinds(t, second, EventChanged)
	cancelSecond()
	if f := nas.next(); f.Method != "core.unsubscribe" || string(f.Params[0]) != `"sub-vm.query"` {
		t.Errorf("with the last listener went %s %s", f.Method, f.Params)
	}
	select {
	case e := <-first:
		t.Errorf("a canceled listener received %+v", e)
	default:
	}
}

func TestRefusedSubscription(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) { p.answer(f, nil) }
	nas.subscribe = func(name string) any {
		if name == "vm.query" {
			return wireFailure{"code": -32001, "data": map[string]any{"error": 13, "reason": "[EACCES] Not authorized"}}
		}
		return "sub"
	}
	c := nas.client()
	events, cancel := listen(c, "vm.query")
	defer cancel()
	if err := c.VMs.PowerOff(within(t, 10*time.Second), 1); err != nil {
		t.Fatalf("a call on the connection: %v", err)
	}
	nas.nextPeer().cut()
	nas.nextPeer()
	select {
	case e := <-events:
		t.Errorf("heard %+v", e)
	default:
	}
}

func TestSubscriptionEndedByTheNAS(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client()
	events, cancel := listen(c, "vm.query")
	defer cancel()
	wantKinds(t, events, EventReset)
	nas.nextPeer().send(map[string]any{"jsonrpc": "2.0", "method": "notify_unsubscribed", "params": map[string]any{"collection": "vm.query"}})
	wantKinds(t, events, EventLost, EventReset)
}

func TestSlowListener(t *testing.T) {
	l := newListener(nil)
	for i := range backlog + 1 {
		l.put(Event{Kind: EventChanged, ID: int64(i)})
	}
	got := fmt.Sprint(l.take())
	if want := fmt.Sprint([]Event{{Kind: EventLost}, {Kind: EventReset}, {Kind: EventChanged, ID: backlog}}); got != want {
		t.Errorf("got %s", got)
	}
}

func TestListenerMayCall(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) { p.answer(f, []any{}) }
	c := nas.client()
	failed := make(chan error, 1)
	cancel := c.Subscribe("vm.query", func(Event) {
		_, err := c.VMs.List(within(t, 10*time.Second))
		failed <- err
	})
	defer cancel()
	select {
	case err := <-failed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a call from a listener does not return")
	}
}
