package sim

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas/truenastest/intime"
)

func TestVersions(t *testing.T) {
	for _, tt := range []struct{ release, want string }{
		{"25.04.2", `["v25.04.0","v25.04.1","v25.04.2"]`},
		{"25.10", `["v25.04.0","v25.04.1","v25.04.2","v25.10.0","v25.10.1"]`},
		{"26", `["v25.04.0","v25.04.1","v25.04.2","v25.10.0","v25.10.1","v26.0.0"]`},
		{"27", `["v25.04.0","v25.04.1","v25.04.2","v25.10.0","v25.10.1","v26.0.0","v27.0.0"]`},
	} {
		t.Run(tt.release, func(t *testing.T) {
			n := newWire(t, Config{Release: tt.release})
			if status, body := n.get("/api/versions"); status != 200 || body != tt.want {
				t.Errorf("got %d %s, want %s", status, body, tt.want)
			}
			var versions []string
			if err := json.Unmarshal([]byte(tt.want), &versions); err != nil {
				t.Fatal(err)
			}
			n.dial("/api/" + versions[len(versions)-1])
			if status, _ := n.get("/api/v" + tt.release); tt.release != "25.04.2" && status != 404 {
				t.Errorf("/api/v%s: got %d, want 404", tt.release, status)
			}
		})
	}
	if _, err := New(Config{Release: "24.10"}); err == nil {
		t.Error("release 24.10 is accepted")
	}
}

func TestMalformedRequests(t *testing.T) {
	n := newWire(t, Config{})
	for _, tt := range []struct{ name, frame, want string }{
		{"a batch", `[{"jsonrpc":"2.0","id":1,"method":"core.ping"}]`, "batches"},
		{"no version", `{"id":1,"method":"core.ping"}`, "jsonrpc"},
		{"parameters by name", `{"jsonrpc":"2.0","id":1,"method":"core.ping","params":{}}`, "array"},
		{"no method", `{"jsonrpc":"2.0","id":1}`, "method"},
		{"a misspelt member", `{"jsonrpc":"2.0","id":1,"method":"core.ping","Params":[]}`, "member"},
		{"a null id", `{"jsonrpc":"2.0","id":null,"method":"core.ping"}`, "id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := n.dial("/api/current")
			p.write(json.RawMessage(tt.frame))
			m, err := p.read()
			if err != nil {
				t.Fatal(err)
			}
			if m.Error == nil || m.Error.Code != -32600 || !strings.Contains(m.Error.Message, tt.want) {
				t.Errorf("got %+v, want -32600 with %q", m.Error, tt.want)
			}
		})
	}
	t.Run("what is not JSON closes the connection", func(t *testing.T) {
		p := n.dial("/api/current")
		if err := p.conn.WriteMessage(1, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if code := p.closed(); code != 1007 {
			t.Errorf("closed with %d, want 1007", code)
		}
	})
}

func TestTooLongMessages(t *testing.T) {
	n := newWire(t, Config{Release: "25.10"})
	long := func(size int) json.RawMessage {
		frame := `{"jsonrpc":"2.0","id":99,"method":"core.ping","params":[]}`
		return json.RawMessage(frame + strings.Repeat(" ", size-len(frame)))
	}
	send := func(p *peerConn, size int) {
		t.Helper()
		if err := p.conn.WriteMessage(1, long(size)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("before login", func(t *testing.T) {
		p := n.dial("/api/current")
		send(p, 8192)
		if m := p.reply(99); m.Error != nil {
			t.Errorf("8192 bytes: %+v", m.Error)
		}
		send(p, 8193)
		if code := p.closed(); code != 1007 {
			t.Errorf("8193 bytes: closed with %d, want 1007", code)
		}
	})
	t.Run("after login", func(t *testing.T) {
		p := n.login()
		send(p, 65536)
		if m := p.reply(99); m.Error != nil {
			t.Errorf("65536 bytes: %+v", m.Error)
		}
		send(p, 200000)
		if code := p.closed(); code != 1009 {
			t.Errorf("200000 bytes: closed with %d, want 1009", code)
		}
	})
}

func TestErrorsByKind(t *testing.T) {
	n := newWire(t, Config{})
	p := n.login()
	for _, tt := range []struct {
		name   string
		method string
		params []any
		code   int
		errno  int
		text   string
	}{
		{"a missing method", "vm.fly", nil, -32601, 0, "Method does not exist"},
		{"an argument too many", "core.ping", []any{1}, -32602, 22, "Too many arguments (expected 0, found 1)"},
		{"an argument too few", "core.subscribe", nil, -32602, 22, "[EINVAL] event: Field required"},
		{"a wrong type", "core.job_abort", []any{"1"}, -32602, 22, "[EINVAL] id: Input should be a valid integer"},
		{"one row requested, none found", "core.get_jobs", []any{[]any{[]any{"id", "=", 9}}, map[string]any{"get": true}}, -32001, 22, "MatchNotFound()"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := p.fails(tt.method, tt.params...)
			if got.Code != tt.code || got.Data.Error != tt.errno || !strings.Contains(got.Message+got.Data.Reason, tt.text) {
				t.Errorf("got %+v, want %d, errno %d, %q", got, tt.code, tt.errno, tt.text)
			}
		})
	}
}

func TestMissingInstanceHasNoAttribute(t *testing.T) {
	n := newWire(t, Config{})
	testMethods(t, n.Sim, map[string]method{"test.missing": {run: func(*call) (any, error) {
		return nil, missing("VM %d does not exist", 1)
	}}})
	got := n.login().fails("test.missing")
	if want := `[[null,"VM 1 does not exist",2]]`; got.Code != -32602 || jsonOf(t, got.Data.Extra) != want {
		t.Errorf("got %+v, want %s", got, want)
	}
}

func TestNotificationHasNoReply(t *testing.T) {
	n := newWire(t, Config{})
	var ran atomic.Int32
	testMethods(t, n.Sim, map[string]method{"test.note": {run: func(*call) (any, error) {
		return int(ran.Add(1)), nil
	}}})
	p := n.login()
	p.write(map[string]any{"jsonrpc": "2.0", "method": "test.note"})
	for p.must("test.note") == "1" { // The request without an id may run later.
	}
	if len(p.kept) > 0 {
		t.Errorf("got a reply: %+v", p.kept)
	}
}

// blocking adds a method that waits for the test. running returns the number of calls in progress.
func blocking(t *testing.T, n *wire) (running func() int, release func()) {
	t.Helper()
	var count atomic.Int32
	open := make(chan struct{})
	testMethods(t, n.Sim, map[string]method{"test.block": {run: func(c *call) (any, error) {
		count.Add(1)
		c.sim.mu.Unlock()
		defer c.sim.mu.Lock()
		<-open
		return nil, nil
	}}})
	var once atomic.Bool
	release = func() {
		if once.CompareAndSwap(false, true) {
			close(open)
		}
	}
	t.Cleanup(release)
	return func() int { return int(count.Load()) }, release
}

func TestTheTwentyFirstCallIsRefused(t *testing.T) {
	n := newWire(t, Config{})
	running, release := blocking(t, n)
	p := n.login()
	var ids []int
	for range 21 {
		ids = append(ids, p.send("test.block"))
	}
	if m := p.reply(ids[20]); m.Error == nil || m.Error.Code != -32000 {
		t.Errorf("the 21st call: %+v, want -32000", m.Error)
	}
	for running() < 10 {
		time.Sleep(time.Millisecond)
	}
	if got := running(); got != 10 {
		t.Errorf("%d calls run, want 10", got)
	}
	release()
	for _, id := range ids[:20] {
		if m := p.reply(id); m.Error != nil {
			t.Errorf("call %d: %+v", id, m.Error)
		}
	}
	p.must("core.ping")
}

func TestRepliesOutOfOrder(t *testing.T) {
	n := newWire(t, Config{})
	p := n.login()
	n.Inject(Fault{Method: "core.get_jobs", Then: Delay, Delay: time.Hour})
	p.send("core.get_jobs")
	quick := p.send("core.ping")
	first, err := p.read()
	if err != nil {
		t.Fatal(err)
	}
	if first.ID != float64(quick) {
		t.Errorf("the reply to call %v came first, want %d", first.ID, quick)
	}
}

func TestLatencyOverlaps(t *testing.T) {
	intime.Try(t, 200*time.Millisecond, func(latency time.Duration) error {
		p := newWire(t, Config{Latency: latency}).login()
		start := time.Now()
		var ids []int
		for range 10 {
			ids = append(ids, p.send("core.get_jobs"))
		}
		for _, id := range ids {
			p.reply(id)
		}
		if took := time.Since(start); took < latency || took > 7*latency {
			return fmt.Errorf("10 calls at once took %v, want about %v", took, latency)
		}
		return nil
	})
}

func TestAuthenticationIsNeeded(t *testing.T) {
	n := newWire(t, Config{})
	p := n.dial("/api/current")
	if got := p.fails("core.get_jobs"); got.Code != -32001 || got.Data.Error != 207 {
		t.Errorf("got %+v, want errno 207", got)
	}
	p.must("core.ping")

	old := newWire(t, Config{Release: "25.04.2"}).dial("/api/current")
	if got := old.fails("core.ping"); got.Data.Error != 207 {
		t.Errorf("25.04.2: a ping before login: %+v, want errno 207", got)
	}
}

func TestTooManyCallsBeforeLogin(t *testing.T) {
	clock := NewStepClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	n := newWire(t, Config{Clock: clock})
	for i := range 20 {
		if got := n.dial("/api/current").must("auth.login_ex", plainLogin("root", "1-wrong")); got != `{"response_type":"AUTH_ERR"}` {
			t.Fatalf("login %d: %s", i, got)
		}
	}
	p := n.dial("/api/current")
	if got := p.fails("auth.login_ex", plainLogin(DefaultUser, DefaultAPIKey)); got.Data.Error != 16 {
		t.Errorf("the 21st login: %+v, want EBUSY", got)
	}
	if got := p.must("auth.mechanism_choices"); got == "" {
		t.Error("another method shares the limit")
	}
	n.PretendRemote("192.0.2.1")
	n.dial("/api/current").must("auth.mechanism_choices")
	n.PretendRemote("")
	clock.Step(61 * time.Second)
	p.must("auth.login_ex", plainLogin(DefaultUser, DefaultAPIKey))
	for range 30 {
		p.must("core.ping")
	}
}

func TestRoles(t *testing.T) {
	for _, tt := range []struct {
		held, wanted string
		want         bool
	}{
		{"FULL_ADMIN", "VM_WRITE", true},
		{"FULL_ADMIN", "FULL_ADMIN", true},
		{"READONLY_ADMIN", "VM_READ", true},
		{"READONLY_ADMIN", "VM_WRITE", false},
		{"VM_WRITE", "VM_READ", true},
		{"VM_READ", "VM_WRITE", false},
		{"VM_WRITE", "VM_DEVICE_READ", false},
		{"DATASET_WRITE", "DATASET_DELETE", false},
		{"DATASET_DELETE", "DATASET_READ", false},
	} {
		t.Run(fmt.Sprintf("%s for %s", tt.held, tt.wanted), func(t *testing.T) {
			if got := includes(tt.held, tt.wanted); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
	n := newWire(t, Config{Keys: []Key{{Username: "svc", APIKey: "2-abc", Roles: []string{"VM_READ"}}}})
	p := n.dial("/api/current")
	p.must("auth.login_ex", plainLogin("svc", "2-abc"))
	p.must("vm.query")
	if got := p.fails("vm.create", map[string]any{}); got.Data.Error != 13 {
		t.Errorf("vm.create: %+v, want EACCES", got)
	}
	n.SetRoles("svc", "VM_WRITE")
	if got := p.fails("vm.create", map[string]any{}); got.Code != -32602 {
		t.Errorf("vm.create with the role: %+v, want -32602", got)
	}
}
