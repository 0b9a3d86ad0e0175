package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestLoginRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply any
		want  string
	}{
		{"a wrong key", map[string]any{"response_type": "AUTH_ERR"}, "revoked"},
		{"an expired key", map[string]any{"response_type": "EXPIRED"}, "expired"},
		{"a user who may not", map[string]any{"response_type": "DENIED"}, "may not log in"},
		{"a second factor", map[string]any{"response_type": "OTP_REQUIRED", "username": "svc"}, "two-factor"},
		{"an answer of a later release", map[string]any{"response_type": "RIDDLE"}, "RIDDLE"},
		{"a validation error that contains the key", wireFailure{"code": -32602, "message": "Invalid params", "data": map[string]any{
			"error": 22, "reason": "bad key " + testKey, "extra": []any{[]any{"login_data.api_key", "not a key: " + testKey, 22}},
		}}, "[redacted]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nas := newFakeNAS(t)
			nas.login = func() any { return tt.reply }
			core, logs := observer.New(zap.DebugLevel)
			c := nas.client(func(cfg *Config) { cfg.Logger = zap.New(core) })
			for _, err := range []error{c.Connect(within(t, 20*time.Second)), c.VMs.PowerOff(within(t, 20*time.Second), 1), c.Status().Err} {
				if !errors.Is(err, ErrAuth) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
				noSecret(t, err.Error())
			}
			if err := c.Close(); err != nil { // Everything is logged after that.
				t.Error(err)
			}
			for _, entry := range logs.All() {
				text, _ := json.Marshal(entry.ContextMap())
				noSecret(t, entry.Message+string(text))
			}
			if logs.Len() == 0 {
				t.Error("the log is empty")
			}
		})
	}
}

// TestScramLoginRefused checks that a refusal at either step of a SCRAM login is reported in the operator's words, and that a reply of
// another step is not a success.
func TestScramLoginRefused(t *testing.T) {
	first := map[string]any{"response_type": "SCRAM_RESPONSE", "scram_type": "SERVER_FIRST_RESPONSE", "rfc_str": "r=x"}
	for _, tt := range []struct {
		name  string
		reply any
		want  error
		text  string
	}{
		{"a wrong key", map[string]any{"response_type": "AUTH_ERR"}, ErrAuth, "wrong user name or API key"},
		{"an expired key", map[string]any{"response_type": "EXPIRED"}, ErrAuth, "the API key has expired"},
		{"success without a proof", map[string]any{"response_type": "SUCCESS"}, ErrAuth, "TrueNAS returned SUCCESS"},
		{"the last message first", map[string]any{"response_type": "SCRAM_RESPONSE", "scram_type": "SERVER_FINAL_RESPONSE", "rfc_str": "v=x"}, ErrAuth, "TrueNAS returned SCRAM_RESPONSE"},
		{"the first message of another exchange", first, ErrAuth, "the server's first message is malformed"},
		{"the standby controller", map[string]any{"response_type": "REDIRECT", "urls": []string{"nas-a", "nas-b"}}, ErrUnavailable, "the active one is at nas-a, nas-b"},
		{"another form", "hello", ErrUnavailable, "unexpected result"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			nas := newFakeNAS(t)
			nas.versions = []string{"v26.0.0"}
			nas.login = func() any { return tt.reply }
			c := nas.client(func(cfg *Config) { cfg.ConnectWait = 20 * time.Millisecond })
			err := c.VMs.PowerOff(within(t, 10*time.Second), 1)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %q", err, tt.text)
			}
			if got := nas.methods(); len(got) > 0 {
				t.Errorf("sent without a login: %v", got)
			}
		})
	}
}

// TestPlainLoginOfAnotherForm: a reply to a login of another form is neither a success nor the refusal of a key.
func TestPlainLoginOfAnotherForm(t *testing.T) {
	nas := newFakeNAS(t)
	nas.login = func() any { return "SUCCESS" }
	c := nas.client(func(cfg *Config) { cfg.ConnectWait = 20 * time.Millisecond })
	err := c.VMs.PowerOff(within(t, 10*time.Second), 1)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrAuth) || !strings.Contains(err.Error(), "unexpected result") {
		t.Errorf("got %v", err)
	}
}

// TestFailureIsLoggedOnce: the log has each reason for a missing connection once and not with each attempt, and none after Close.
func TestFailureIsLoggedOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	s, err := newSession(Config{URL: "http://127.0.0.1:1", Username: "svc", APIKey: testKey, Logger: zap.New(core)}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	var states []Status
	s.cfg.Hooks.OnState = func(st Status) { states = append(states, st) }
	for _, reason := range []string{"down", "down", "still down", "still down", "down"} {
		s.failed(unavailable(reason, nil))
	}
	if n := logs.FilterMessage("cannot connect to TrueNAS").Len(); n != 3 || len(states) != 3 {
		t.Errorf("%d warnings and %d states, want 3", n, len(states))
	}
	s.failed(unavailable("refused "+testKey, nil))
	noSecret(t, s.status().Err.Error())
	s.close()
	s.failed(unavailable("closed", nil))
	if n := logs.Len(); n != 4 {
		t.Errorf("%d warnings after Close", n)
	}
}

func noSecret(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, "MARKED") {
		t.Errorf("a secret is in %q", text)
	}
}

func TestLoginBudgetIsUsedUp(t *testing.T) {
	nas := newFakeNAS(t)
	nas.login = func() any {
		return wireFailure{"code": -32001, "data": map[string]any{"error": 16, "errname": "EBUSY", "reason": "[EBUSY] Rate Limit Exceeded"}}
	}
	c := nas.client(func(cfg *Config) { cfg.ConnectWait = 50 * time.Millisecond })
	err := c.VMs.PowerOff(within(t, 10*time.Second), 1)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "Rate Limit") {
		t.Fatalf("got %v", err)
	}
	if n := nas.logins.Load(); n > 1 {
		t.Errorf("%d logins in a row", n)
	}
}

func TestNoServer(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) {
		cfg.URL = "http://127.0.0.1:1"
		cfg.ConnectWait = 50 * time.Millisecond
	})
	err := c.VMs.PowerOff(within(t, 10*time.Second), 1)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") || errors.Is(err, ErrUncertain) {
		t.Errorf("a call: %v", err)
	}
	_, err = c.Snapshots.List(within(t, 10*time.Second))
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("a call that needs the release: %v", err)
	}
	err = c.Connect(within(t, 100*time.Millisecond))
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Connect: %v", err)
	}
	if s := c.Status(); s.Connected || s.Err == nil {
		t.Errorf("status: %+v", s)
	}
}

func TestReleasesWithoutMachines(t *testing.T) {
	for name, versions := range map[string][]string{"24.10": nil, "25.04.1": {"v25.04.0", "v25.04.1"}} {
		nas := newFakeNAS(t)
		nas.versions = versions
		err := nas.client().Connect(within(t, 10*time.Second))
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "25.04.2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUpgradeIsNoticed(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) { p.answer(f, map[string]any{}) }
	core, logs := observer.New(zap.WarnLevel)
	c := nas.client(func(cfg *Config) { cfg.PlainLogin, cfg.Logger = true, zap.New(core) })
	if err := c.Connect(within(t, 10*time.Second)); err != nil || c.Release() != R25_10 {
		t.Fatalf("%v, %v", c.Release(), err)
	}
	nas.mu.Lock()
	nas.versions = []string{"v25.10.0", "v27.0.0", "v28.0.0"}
	nas.mu.Unlock()
	for range 2 {
		nas.nextPeer().cut()
	}
	nas.nextPeer()
	if _, err := c.VMs.Get(within(t, 10*time.Second), 1); err != nil {
		t.Fatal(err)
	}
	if c.Release() != R27 || !strings.HasSuffix(c.Status().Endpoint, "/api/v27.0.0") {
		t.Errorf("pinned to %v, %s", c.Release(), c.Status().Endpoint)
	}
	if n := logs.FilterMessageSnippet("newer than the supported releases").Len(); n != 1 {
		t.Errorf("warned %d times of an unknown release", n)
	}
}

func TestLoginExpires(t *testing.T) {
	nas := newFakeNAS(t)
	var calls atomic.Int64
	nas.script = func(p *peer, f frame) {
		if calls.Add(1) == 1 {
			p.answer(f, wireFailure{"code": -32001, "data": map[string]any{"error": 207, "errname": "ENOTAUTHENTICATED", "reason": "[ENOTAUTHENTICATED] Not authenticated"}})
			return
		}
		p.answer(f, nil)
	}
	c := nas.client()
	if err := c.VMs.PowerOff(within(t, 10*time.Second), 1); err != nil {
		t.Fatalf("a change refused without a login is retried after the next login: %v", err)
	}
	if n := nas.logins.Load(); n != 2 {
		t.Errorf("%d logins", n)
	}
}

func TestStatusAndHooks(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) {
		p.answer(f, wireFailure{"code": -32000, "message": "Too many concurrent calls"})
	}
	states := make(chan Status, 10)
	calls := make(chan CallInfo, 10)
	c := nas.client(func(cfg *Config) {
		cfg.Hooks = Hooks{OnState: func(s Status) { states <- s }, OnCall: func(i CallInfo) { calls <- i }}
	})
	if err := c.VMs.PowerOff(within(t, 10*time.Second), 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("too many calls: %v", err)
	}
	if i := <-calls; i.Method != "vm.poweroff" || !errors.Is(i.Err, ErrUnavailable) || i.Took <= 0 {
		t.Errorf("the hook received %+v", i)
	}
	s := c.Status()
	if !s.Connected || s.Err != nil || s.System != "TrueNAS-25.10.1" || !slices.Equal(s.Roles, []string{"FULL_ADMIN"}) ||
		!strings.HasSuffix(s.Endpoint, "/api/v25.10.0") || s.Since.IsZero() || s.Latency <= 0 {
		t.Errorf("status: %+v", s)
	}
	nas.nextPeer().cut()
	nas.nextPeer()
	for i, want := range []bool{true, false, true} {
		if s := <-states; s.Connected != want || (s.Err == nil) != want {
			t.Errorf("state %d: %+v", i, s)
		}
	}
}

func TestRedactedErrors(t *testing.T) {
	s := &session{cfg: Config{APIKey: testKey}}
	_, secret, _ := strings.Cut(testKey, "-") // The NAS knows it without its number.
	e := &Error{Reason: "bad " + secret, Fields: []FieldError{{Attribute: "a", Message: "b"}, {Attribute: "c", Message: testKey + " " + secret}}}
	s.redact(e)
	noSecret(t, e.Reason+e.Error())
	if e.Reason != "bad [redacted]" || e.Fields[0].Message != "b" || e.Fields[1].Message != "[redacted] [redacted]" {
		t.Errorf("got %+v", e)
	}
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) {
		p.answer(f, wireFailure{"code": -32001, "data": map[string]any{"error": 14, "reason": "[EFAULT] " + testKey + " /_download/3?auth_token=MARKEDtoken&x=1"}})
	}
	err := nas.client().VMs.PowerOff(within(t, 10*time.Second), 1)
	noSecret(t, err.Error())
	if !strings.Contains(err.Error(), "/_download/3") {
		t.Errorf("too much was redacted: %v", err)
	}
}
