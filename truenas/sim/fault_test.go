package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas/truenastest/intime"
)

// counting adds a method that returns how often it ran.
func counting(n *wire) (done func() int) {
	count := 0
	testMethods(n.t, n.Sim, map[string]method{
		"test.count": {run: func(*call) (any, error) { count++; return count, nil }},
		"test.job":   {job: true, run: func(c *call) (any, error) { c.locked(func() { count++ }); return true, nil }},
	})
	return func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return count
	}
}

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		then  Action
		done  int  // how often the call ran
		cut   bool // whether the connection ends
		reply string
	}{
		{"refused", Refuse, 0, false, "error"},
		{"the reply dropped", DropReply, 1, false, ""},
		{"cut before", CutBefore, 0, true, ""},
		{"cut after", CutAfter, 1, true, ""},
		{"answered twice", AnswerTwice, 1, false, "1 1"},
		{"delayed", Delay, 1, false, "1"},
		{"answered late", AnswerLate, 1, false, "1"},
		{"the middleware restarted", Restart, 1, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newWire(t, Config{})
			done := counting(n)
			p := n.login()
			n.Inject(Fault{Method: "test.count", Nth: 1, Then: tt.then, Delay: time.Millisecond})
			id := p.send("test.count")
			if tt.cut {
				if code := p.closed(); code != -1 {
					t.Errorf("closed with %d, want it cut", code)
				}
			} else {
				p.must("core.ping")
			}
			for range strings.Fields(tt.reply) {
				if m := p.reply(id); (m.Error != nil) != (tt.reply == "error") {
					t.Errorf("the reply: %+v", m)
				}
			}
			for range 1000 {
				if done() >= tt.done {
					break
				}
				time.Sleep(time.Millisecond) // There is no event to wait for without a reply.
			}
			if done() != tt.done {
				t.Errorf("done %d times, want %d", done(), tt.done)
			}
			if !tt.cut {
				p.must("core.ping")
			}
			if len(p.kept) > 0 {
				t.Errorf("additional replies: %+v", p.kept)
			}
			n.login().must("test.count") // The fault happens once.
		})
	}
}

func TestFaultsAreCounted(t *testing.T) {
	n := newWire(t, Config{})
	counting(n)
	p := n.login()
	n.Inject(Fault{Nth: 3, Then: Refuse, Err: &CallError{Errno: eNOSPC, Reason: "[ENOSPC] full"}})
	n.Inject(Fault{Method: "test.count", Nth: 2, Then: Refuse})
	p.must("core.get_jobs")
	p.must("test.count")
	p.must("core.ping")
	if got := p.fails("core.get_jobs"); got.Data.Error != 28 {
		t.Errorf("the third call: %+v", got)
	}
	if got := p.fails("test.count"); got.Data.Error != 14 {
		t.Errorf("the second test.count: %+v", got)
	}
	n.Inject(Fault{Then: Refuse})
	n.ClearFaults()
	p.must("test.count")
}

func TestFailJob(t *testing.T) {
	n := newWire(t, Config{})
	done := counting(n)
	p := n.login()
	n.Inject(Fault{Method: "test.job", Then: FailJob})
	if row := p.job(p.must("test.job")); row["state"] != "FAILED" || done() != 0 {
		t.Errorf("the job: %v, done %d times", row, done())
	}
}

func TestLoginFaults(t *testing.T) {
	n := newWire(t, Config{})
	n.Inject(Fault{Method: "auth.login_ex", Then: CutBefore})
	p := n.dial("/api/current")
	p.send("auth.login_ex", plainLogin(DefaultUser, DefaultAPIKey))
	p.closed()
	n.login()
}

func TestCallsAreCountedInOrder(t *testing.T) {
	n := newWire(t, Config{})
	counting(n)
	var seen []string
	var mu sync.Mutex
	n.OnCall(func(i int, method string) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprint(i, " ", method))
	})
	p := n.login()
	a, b := p.send("test.count"), p.send("core.get_jobs")
	p.must("core.ping")
	p.must("core.subscribe", "core.get_jobs")
	p.reply(a)
	p.reply(b)
	mu.Lock()
	if got := strings.Join(seen, ", "); got != "1 test.count, 2 core.get_jobs" {
		t.Errorf("OnCall saw %s", got)
	}
	mu.Unlock()
	if got := strings.Join(n.Calls(), ", "); got != "test.count, core.get_jobs" {
		t.Errorf("Calls: %s", got)
	}
	n.ResetCalls()
	if got := n.Calls(); len(got) != 0 {
		t.Errorf("after ResetCalls: %v", got)
	}
}

func TestCuttingAtACallPreventsIt(t *testing.T) {
	n := newWire(t, Config{})
	done := counting(n)
	p := n.login()
	n.OnCall(func(i int, _ string) {
		if i == 2 {
			n.CutConnections()
		}
	})
	p.must("test.count")
	p.send("test.count")
	p.closed()
	if n.login(); done() != 1 {
		t.Errorf("done %d times, want 1", done())
	}
}

func TestOffline(t *testing.T) {
	n := newWire(t, Config{})
	p := n.login()
	n.SetOffline(true)
	p.closed()
	if status, body := n.get("/api/versions"); status != 0 {
		t.Errorf("while off: %d %s", status, body)
	}
	n.SetOffline(false)
	n.login()
}

func TestTranscriptFitsAndKeepsSecrets(t *testing.T) {
	var text bytes.Buffer
	n := newWire(t, Config{Transcript: &text})
	counting(n)
	p := n.login()
	p.must("test.count")
	p.fails("vm.fly")
	p.job(p.must("test.job"))
	p.must("auth.login_with_api_key", DefaultAPIKey)
	token := p.must("auth.generate_token")
	n.Close()

	_, secret, _ := strings.Cut(DefaultAPIKey, "-")
	for _, s := range []string{secret, strings.Trim(token, `"`)} {
		if strings.Contains(text.String(), s) {
			t.Errorf("the secret %s is in the transcript", s)
		}
	}
	var got []string
	for _, l := range strings.Split(strings.TrimSpace(text.String()), "\n") {
		var v struct {
			Release, Method string
			Params          []json.RawMessage
			Result, Error   json.RawMessage
			JobResult       json.RawMessage `json:"job_result"`
		}
		if err := json.Unmarshal([]byte(l), &v); err != nil || v.Release != "25.10" {
			t.Fatalf("%s: %v", l, err)
		}
		if v.Method == "core.get_jobs" || v.Method == "core.ping" {
			continue
		}
		text := v.Method + " " + jsonOf(t, v.Params)
		switch {
		case v.JobResult != nil:
			text = v.Method + " job " + string(v.JobResult)
		case v.Error == nil && !strings.HasPrefix(v.Method, "auth.login_ex"):
			text += " " + string(v.Result)
		}
		got = append(got, text)
	}
	want := []string{
		`auth.login_ex [{"api_key":"xxx","mechanism":"API_KEY_PLAIN","username":"root"}]`,
		`test.count null 1`, `vm.fly null`, `test.job job true`, `test.job null 1`,
		`auth.login_with_api_key ["xxx"] true`, `auth.generate_token null "xxx"`,
	}
	less := func(l []string) string { return strings.Join(l, "\n") }
	got[3], got[4] = min(got[3], got[4]), max(got[3], got[4]) // A job may end before the reply with its id.
	if less(got) != less(want) {
		t.Errorf("got\n%s\nwant\n%s", less(got), less(want))
	}
}

func TestLateCalls(t *testing.T) {
	for _, tt := range []struct {
		name string
		then Action
		done int // how often the call ran before its reply was due
	}{
		{"done late", Delay, 0},
		{"done at once and answered late", AnswerLate, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newWire(t, Config{})
			done := counting(n)
			p := n.login()
			n.Inject(Fault{Method: "test.count", Nth: 1, Then: tt.then, Delay: 300 * time.Millisecond})
			n.Inject(Fault{Method: "test.count", Nth: 2, Then: tt.then, Delay: time.Hour})
			began := time.Now()
			id := p.send("test.count")
			if m := p.reply(id); m.Error != nil || time.Since(began) < 300*time.Millisecond {
				t.Errorf("the reply after %v: %+v", time.Since(began), m)
			}
			if done() != 1 {
				t.Errorf("done %d times", done())
			}
			p.send("test.count") // It never gets a reply.
			for done() < 1+tt.done {
				time.Sleep(time.Millisecond) // There is no event to wait for without a reply.
			}
			if p.must("core.ping"); done() != 1+tt.done {
				t.Errorf("done %d times before its reply is due", done()-1)
			}
		})
	}
}

func TestRestartLosesNewJob(t *testing.T) {
	n := newWire(t, Config{})
	done := counting(n)
	p := n.login()
	n.Inject(Fault{Method: "test.job", Then: Restart})
	p.send("test.job")
	p.closed()
	if list := n.login().must("core.get_jobs"); list != "[]" {
		t.Errorf("the jobs %s", list)
	}
	if done() != 0 {
		t.Error("the job ran")
	}
}

func TestInjectReportsTheEndOfAFault(t *testing.T) {
	n := newWire(t, Config{})
	counting(n)
	p := n.login()
	happens := n.Inject(Fault{Method: "test.count", Then: Refuse})
	takenBack := n.Inject(Fault{Method: "test.count", Nth: 9, Then: Refuse})
	select {
	case <-happens:
		t.Error("the channel is closed before the fault")
	default:
	}
	p.send("test.count")
	<-happens
	select {
	case <-takenBack:
		t.Error("the channel of the other fault is closed too")
	default:
	}
	n.ClearFaults()
	<-takenBack
}

// TestRestartForgetsPendingCalls checks that a delayed call never runs if the middleware ends before it begins, but runs if
// only its connection ends.
func TestRestartForgetsPendingCalls(t *testing.T) {
	for name, harm := range map[string]func(*Sim){"restart": (*Sim).RestartMiddleware, "cut": (*Sim).CutConnections} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[string]int{"restart": 0, "cut": 1}[name]
			intime.Try(t, time.Second, func(late time.Duration) error {
				n := newWire(t, Config{})
				done := counting(n)
				received := make(chan struct{}, 1)
				n.OnCall(func(int, string) { received <- struct{}{} })
				n.Inject(Fault{Method: "test.count", Then: Delay, Delay: late})
				p := n.login()
				p.send("test.count")
				<-received
				p.must("core.ping") // The call is waiting by now.
				harm(n.Sim)
				for began := time.Now(); time.Since(began) < 2*late && (want == 0 || done() == 0); {
					time.Sleep(10 * time.Millisecond) // There is no event to wait for without a reply.
				}
				if done() != want {
					return fmt.Errorf("done %d times, want %d", done(), want)
				}
				return nil
			})
		})
	}
}
