package sim

import (
	"encoding/json"
	"testing"
	"time"
)

// Rule 15: a download is served only to the address that requested it, and a login token is valid only for its own address.
func TestTokensAreBoundToTheirAddress(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newWire(t, Config{Release: release})
			keeper(n)
			p := n.login()
			var answer [2]any
			if err := json.Unmarshal([]byte(p.must("core.download", "test.get", []any{}, "file.bin")), &answer); err != nil {
				t.Fatal(err)
			}
			from := func(address string) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.remote = address
			}
			path := answer[1].(string)
			from("192.0.2.7")
			if status, body := n.get(path); status != 401 || body == "kept" {
				t.Errorf("from another address: %d %q, want 401", status, body)
			}
			from("")
			if status, body := n.get(path); status != 200 || body != "kept" {
				t.Errorf("from its own address: %d %q", status, body)
			}
		})
	}
}

// Rule 18: a waiting call is canceled when its socket closes, on every release.
func TestPendingCallsEndWithTheirSocket(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newWire(t, Config{Release: release})
			entered, leave := make(chan struct{}, callsRunning), make(chan struct{})
			ran := make(chan struct{}, 1)
			testMethods(t, n.Sim, map[string]method{
				"test.block": {run: func(c *call) (any, error) {
					c.sim.mu.Unlock()
					entered <- struct{}{}
					<-leave
					c.sim.mu.Lock()
					return nil, nil
				}},
				"test.pending": {run: func(*call) (any, error) { ran <- struct{}{}; return nil, nil }},
			})
			p := n.login()
			for range callsRunning {
				p.send("test.block")
			}
			for range callsRunning {
				<-entered
			}
			p.send("test.pending")
			waitFor(t, n, func(c *session) bool { return len(c.waiting) == 1 })
			n.CutConnections()
			p.closed()
			waitFor(t, n, nil)
			close(leave)
			n.login().must("core.ping")
			n.Close() // No call is running after that.
			select {
			case <-ran:
				t.Error("the pending call ran")
			default:
			}
		})
	}
}

// Rule 21: on 25.04.2 only FULL_ADMIN lets a user clone, roll back, hold or release a snapshot.
func TestSnapshotMethodsWithoutARole(t *testing.T) {
	for _, held := range []struct {
		roles   []string
		allowed bool
	}{{[]string{"SNAPSHOT_WRITE", "DATASET_WRITE", "REPLICATION_TASK_WRITE"}, false}, {[]string{fullAdmin}, true}} {
		n := newWire(t, Config{Release: "25.04.2", Keys: []Key{{Username: "svc", APIKey: "2-a", Roles: held.roles}}})
		p := n.dial("/api/current")
		p.must("auth.login_ex", plainLogin("svc", "2-a"))
		for _, method := range []string{"zfs.snapshot.clone", "zfs.snapshot.rollback", "zfs.snapshot.hold", "zfs.snapshot.release"} {
			// The snapshot does not exist, so an account with the role gets another error.
			if got := p.fails(method, "tank/none@s"); (got.Data.Error != eACCES) != held.allowed {
				t.Errorf("%s with %v: %+v", method, held.roles, got)
			}
		}
	}
}

// waitFor waits until a session meets a condition, or, if it is nil, until there are no sessions.
func waitFor(t *testing.T, n *wire, met func(*session) bool) {
	t.Helper()
	for give := time.Now().Add(10 * time.Second); time.Now().Before(give); time.Sleep(time.Millisecond) {
		n.mu.Lock()
		done := met == nil && len(n.sessions) == 0
		for c := range n.sessions {
			done = done || met != nil && met(c)
		}
		n.mu.Unlock()
		if done {
			return
		}
	}
	t.Fatal("no session meets the condition after 10 s")
}
