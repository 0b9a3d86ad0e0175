package truenas

import (
	"errors"
	"fmt"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// raw sends a frame with arbitrary content.
func (p *peer) raw(kind int, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.ws.WriteMessage(kind, data) // The client may disconnect meanwhile.
}

// TestHostileReplies replies to a call with data that a NAS must never send. The call fails quickly, with a text that can be
// displayed, and the next call gets its reply.
func TestHostileReplies(t *testing.T) {
	reply := func(result string) func(*peer, frame) {
		return func(p *peer, f frame) {
			p.raw(websocket.TextMessage, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"result":%s}`, f.ID, result))
		}
	}
	failure := func(body string) func(*peer, frame) {
		return func(p *peer, f frame) {
			p.raw(websocket.TextMessage, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"error":%s}`, f.ID, body))
		}
	}
	long := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name   string
		answer func(*peer, frame)
	}{
		{"a text for a list", reply(`"machines"`)},
		{"a list of numbers", reply(`[1,2,3]`)},
		{"an object for a list", reply(`{"id":1}`)},
		{"too large numbers", reply(`[{"id":1e300,"memory":-1e300}]`)},
		{"deep lists", reply(strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000))},
		{"deep objects", reply(strings.Repeat(`{"a":`, 200_000) + "1" + strings.Repeat("}", 200_000))},
		{"half of a reply", func(p *peer, f frame) {
			p.raw(websocket.TextMessage, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"res`, f.ID))
		}},
		{"no JSON", func(p *peer, f frame) { p.raw(websocket.TextMessage, []byte("\x00\xff<html>")) }},
		{"a batch", func(p *peer, f frame) {
			p.raw(websocket.TextMessage, fmt.Appendf(nil, `[{"jsonrpc":"2.0","id":%d,"result":[]}]`, f.ID))
		}},
		{"bytes", func(p *peer, f frame) { p.raw(websocket.BinaryMessage, []byte{0, 1, 2, 3}) }},
		{"a frame beyond all limits", func(p *peer, f frame) {
			p.raw(websocket.TextMessage, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"result":"%s"}`, f.ID, strings.Repeat("x", maxReply)))
		}},
		{"an error without an end", failure(`{"code":-32001,"message":"` + long + `","data":{"error":14,"reason":"` + long + `"}}`)},
		{"an error of a thousand fields", failure(`{"code":-32602,"data":{"error":22,"extra":[` + strings.TrimSuffix(strings.Repeat(`["a","`+strings.Repeat("y", 100)+`",22],`, 1000), ",") + `]}}`)},
		{"an error of other types", failure(`{"code":-32602,"message":"m","data":{"error":"x","extra":{"a":[]},"trace":[]}}`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nas := newFakeNAS(t)
			var harmed atomic.Bool // The next link reads it concurrently.
			nas.script = func(p *peer, f frame) {
				if harmed.CompareAndSwap(false, true) {
					tt.answer(p, f)
					return
				}
				p.answer(f, []any{})
			}
			c := nas.client(func(cfg *Config) { cfg.ConnectWait = 5 * time.Second })
			began, before := time.Now(), allocated()
			_, err := c.VMs.List(within(t, 20*time.Second))
			if took := allocated() - before; took > 4*maxReply {
				t.Errorf("it took %d MiB of memory", took>>20)
			}
			if err != nil && len(err.Error()) > maxText+100 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if _, err := c.VMs.List(within(t, 20*time.Second)); err != nil {
				t.Errorf("the next call: %v", err)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// allocated returns the total number of bytes that the process has allocated.
func allocated() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// TestHostileGreetings makes a NAS misbehave before the login, when the client has no information about it.
func TestHostileGreetings(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*fakeNAS)
	}{
		{"versions without an end", func(n *fakeNAS) { n.versions = []string{strings.Repeat("v", 1<<20)} }},
		{"no versions", func(n *fakeNAS) { n.versions = []string{"current", ""} }},
		{"a login answered at length", func(n *fakeNAS) {
			n.login = func() any { return map[string]any{"response_type": strings.Repeat("x", 2*maxGreeting)} }
		}},
		{"a login answered by a number", func(n *fakeNAS) { n.login = func() any { return 7 } }},
		{"an empty reply to a login", func(n *fakeNAS) { n.login = func() any { return nil } }},
		{"a login that requires another step", func(n *fakeNAS) {
			n.login = func() any { return map[string]any{"response_type": "REDIRECT", "urls": []string{"ws://evil"}} }
		}},
		{"events instead of an answer", func(n *fakeNAS) {
			n.login = func() any {
				for range maxEarly + 10 {
					n.peers[len(n.peers)-1].event("vm.query", "changed", 1, map[string]any{})
				}
				return map[string]any{"response_type": "SUCCESS"}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nas := newFakeNAS(t)
			tt.spoil(nas)
			c := nas.client(func(cfg *Config) { cfg.ConnectWait = time.Second })
			before := allocated()
			_, err := c.VMs.List(within(t, 10*time.Second))
			if err == nil || len(err.Error()) > maxText+100 {
				t.Errorf("got %.300v", err)
			}
			if took := allocated() - before; took > 200<<20 {
				t.Errorf("it took %d MiB of memory", took>>20)
			}
			var known bool
			for _, kind := range []error{ErrAuth, ErrUnavailable, ErrUnsupported} {
				known = known || errors.Is(err, kind)
			}
			if !known {
				t.Errorf("without a kind: %.300v", err)
			}
		})
	}
}

// TestFloodOfEvents sends more events than a slow listener can handle. The listener gets a reset, and the remaining events are
// dropped.
func TestFloodOfEvents(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) { p.answer(f, []any{}) }
	c := nas.client()
	hold, events := make(chan struct{}), make(chan Event, 8*backlog)
	t.Cleanup(c.Subscribe("vm.query", func(e Event) {
		<-hold
		events <- e
	}))
	if _, err := c.VMs.List(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	p := nas.nextPeer()
	for i := range 3 * backlog {
		p.event("vm.query", "changed", i, map[string]any{})
	}
	// The reply comes after all events, because both use the same connection.
	if _, err := c.VMs.List(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	close(hold)
	last, resets, n := fmt.Sprint(3*backlog-1), 0, 0
	for e := range events {
		n++
		if e.Kind == EventReset {
			resets++
		}
		if fmt.Sprint(e.ID) == last {
			break
		}
	}
	if resets < 2 || n > 2*backlog+10 {
		t.Errorf("%d events and %d resets of %d", n, resets, 3*backlog)
	}
}
