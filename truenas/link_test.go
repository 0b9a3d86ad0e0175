package truenas

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// looseLink opens a websocket to a NAS that no session drives.
func looseLink(t *testing.T, keepalive time.Duration) *link {
	t.Helper()
	nas := newFakeNAS(t)
	ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(nas.url, "http")+"/api/current", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	return newLink(ws, keepalive)
}

// TestLinkFailsWhenItCannotWrite: a link whose calls or pings cannot be written has failed, and gives the first reason. Otherwise its
// calls would wait for replies that never come.
func TestLinkFailsWhenItCannotWrite(t *testing.T) {
	for _, tt := range []struct {
		name      string
		keepalive time.Duration
		out       []*request
	}{
		{"a call", time.Hour, []*request{{frame: []byte("{}")}}},
		{"a ping", time.Millisecond, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := looseLink(t, tt.keepalive)
			_ = l.ws.NetConn().Close()
			l.pump(func() *request {
				if len(tt.out) == 0 {
					return nil
				}
				r := tt.out[0]
				tt.out = tt.out[1:]
				return r
			})
			if !l.failed() || !errors.Is(l.err, net.ErrClosed) {
				t.Errorf("failed: %t, %v", l.failed(), l.err)
			}
			first := l.err
			if l.fail(errSlotsHeld); l.err != first {
				t.Errorf("the reason becomes %v", l.err)
			}
		})
	}
}

// TestLinkFailsWhenItCannotRead checks the reason of a link that receives nothing for two intervals, and of one that is closed.
func TestLinkFailsWhenItCannotRead(t *testing.T) {
	silent := looseLink(t, 5*time.Millisecond)
	silent.read(func(message) { t.Error("a message came") })
	if !silent.failed() || !strings.Contains(silent.err.Error(), "no data received for 10ms") {
		t.Errorf("a silent link: %v", silent.err)
	}
	closed := looseLink(t, time.Hour)
	closed.cut()
	closed.read(func(message) { t.Error("a message came") })
	if !closed.failed() || !errors.Is(closed.err, net.ErrClosed) {
		t.Errorf("a closed link: %v", closed.err)
	}
}

// TestPongs: a pong measures the latency if it replies to a ping of the client. Others do no harm.
func TestPongs(t *testing.T) {
	l := looseLink(t, time.Hour)
	pong := l.ws.PongHandler()
	for _, payload := range []string{"", "short", "longer than a time"} {
		if err := pong(payload); err != nil || l.latency.Load() != 0 {
			t.Errorf("%q: %v, latency %d", payload, err, l.latency.Load())
		}
	}
	sent := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(-time.Minute).UnixNano())) //nolint:gosec // After 1970.
	if err := pong(string(sent)); err != nil || time.Duration(l.latency.Load()).Round(time.Minute) != time.Minute {
		t.Errorf("a reply: %v, latency %d", err, l.latency.Load())
	}
}
