package truenas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// asks makes a client of a NAS that gives the same answer to each call.
func asks(t *testing.T, answer any) (*fakeNAS, *Client) {
	t.Helper()
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) { p.answer(f, answer) }
	return nas, nas.client()
}

// TestARP groups the addresses of each network card, whatever notation the NAS uses.
func TestARP(t *testing.T) {
	table, sorted := map[string]string{"2001:db8::1": "02:00:00:00:00:0b", "192.0.2.10": "02-00-00-00-00-0a", "192.0.2.15": "02:00:00:00:00:0A"}, []string{"192.0.2.10", "192.0.2.15"}
	for i := 20; i < 30; i++ {
		address := fmt.Sprint("192.0.2.", i)
		table[address], sorted = "02:00:00:00:00:0a", append(sorted, address)
	}
	_, c := asks(t, table)
	got, err := c.System.ARP(within(t, 10*time.Second))
	want := map[string][]string{"02:00:00:00:00:0a": sorted, "02:00:00:00:00:0b": {"2001:db8::1"}}
	if err != nil || !maps.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("got %v, %v", got, err)
	}
	_, c = asks(t, wireFailure{"code": -32001, "data": map[string]any{"error": 13, "reason": "[EACCES] Not authorized"}})
	if got, err := c.System.ARP(within(t, 10*time.Second)); !errors.Is(err, ErrPermission) || len(got) > 0 {
		t.Errorf("without the role: %v, %v", got, err)
	}
}

func TestFolders(t *testing.T) {
	nas, c := asks(t, []any{map[string]any{"name": "a", "type": "DIRECTORY"}, map[string]any{"name": "b"}})
	got, err := c.Files.Folders(within(t, 10*time.Second), "/mnt/tank")
	if err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if f := nas.next(); string(f.Params[0]) != `"/mnt/tank"` || string(f.Params[1]) != `[["type","=","DIRECTORY"]]` {
		t.Errorf("sent %s", f.Params)
	}
}

// TestDatasetsAreReadAlone: the row of a dataset does not hold the datasets below it, which are all of the pool for its root.
func TestDatasetsAreReadAlone(t *testing.T) {
	nas, c := asks(t, map[string]any{"id": "tank", "name": "tank"})
	if _, err := c.Datasets.Get(within(t, 10*time.Second), "tank"); err != nil {
		t.Fatal(err)
	}
	if f := nas.next(); !strings.Contains(string(f.Params[1]), `"retrieve_children":false`) {
		t.Errorf("sent %s", f.Params)
	}
	nas, c = asks(t, []any{})
	if _, err := c.Datasets.List(within(t, 10*time.Second), Where("id", "tank")); err != nil {
		t.Fatal(err)
	}
	if f := nas.next(); !strings.Contains(string(f.Params[1]), `"retrieve_children":false`) || !strings.Contains(string(f.Params[1]), `"flat":true`) {
		t.Errorf("sent %s", f.Params)
	}
}

// TestPickedWhileDatasetsGo: from 26 on a query is empty when one of its datasets is gone. The snapshots of the others are found all the
// same, and a NAS whose datasets keep going is busy: it does not look as if there were no snapshots.
func TestPickedWhileDatasetsGo(t *testing.T) {
	snapshots := []any{map[string]any{"id": "tank/a@keep", "snapshot_name": "keep"}, map[string]any{"id": "tank/a@drop", "snapshot_name": "drop"}}
	rows := func(names ...string) []any {
		list := []any{}
		for _, name := range names {
			list = append(list, map[string]any{"id": name, "name": name})
		}
		return list
	}
	refused := wireFailure{"code": -32001, "data": map[string]any{"error": 16, "reason": "[EBUSY] busy"}}
	for _, tt := range []struct {
		name     string
		answers  []any // of the queries for snapshots and datasets in turn; the last one repeats
		want     string
		fails    error
		requests int
	}{
		{"all are there", []any{snapshots}, "tank/a@keep", nil, 1},
		{"one snapshot", []any{snapshots[:1]}, "tank/a@keep", nil, 1},
		{"one is gone", []any{rows(), rows("tank/a"), snapshots}, "tank/a@keep", nil, 3},
		{"no snapshots", []any{rows(), rows("tank/a", "tank/b")}, "", nil, 2},
		{"all are gone", []any{rows(), rows()}, "", nil, 2},
		{"snapshots cannot be read", []any{refused}, "", ErrBusy, 1},
		{"datasets cannot be read", []any{rows(), refused}, "", ErrBusy, 2},
		{"they keep going", []any{rows(), rows("a", "b", "c"), rows(), rows("a"), rows(), rows("b", "c"), rows(), rows("a"), rows(), rows("b", "c")}, "", ErrBusy, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nas := newFakeNAS(t)
			nas.versions = []string{"v26.0.0"}
			answered := 0
			nas.script = func(p *peer, f frame) {
				p.answer(f, tt.answers[min(answered, len(tt.answers)-1)])
				answered++
			}
			c := nas.client(func(cfg *Config) { cfg.PlainLogin = true })
			got, err := c.Snapshots.Picked(within(t, 10*time.Second), func(name string) bool { return name == "keep" }, "tank/a", "tank/b")
			names := ""
			for _, s := range got {
				names += s.ID
			}
			if names != tt.want || !errors.Is(err, tt.fails) {
				t.Errorf("got %q, %v", names, err)
			}
			if got := len(nas.methods()); got != tt.requests {
				t.Errorf("%d requests, want %d", got, tt.requests)
			}
		})
	}
}

// TestPickedByName: up to 25.10 only the snapshots whose names pass are read, each by itself, and one that goes meanwhile is left out.
func TestPickedByName(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) {
		switch filters := string(f.Params[0]); {
		case strings.Contains(filters, `"in"`):
			p.answer(f, []any{map[string]any{"name": "tank/a@keep1"}, map[string]any{"name": "tank/a@drop"}, map[string]any{"name": "tank/b@keep2"}})
		case strings.Contains(filters, "tank/a@keep1"):
			if !strings.Contains(string(f.Params[1]), `"holds":true`) {
				t.Errorf("the holds are not requested: %s", f.Params)
			}
			p.answer(f, []any{map[string]any{"id": "tank/a@keep1", "holds": map[string]any{"x": 1}}})
		default:
			p.answer(f, []any{})
		}
	}
	got, err := nas.client().Snapshots.Picked(within(t, 10*time.Second), func(name string) bool { return strings.HasPrefix(name, "keep") }, "tank/a", "tank/b")
	if err != nil || len(got) != 1 || got[0].ID != "tank/a@keep1" || !slices.Equal(got[0].Holds, []string{"x"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if n := len(nas.methods()); n != 3 {
		t.Errorf("%d requests: %v", n, nas.methods())
	}
}

// TestNegotiate checks what each answer to the question for API versions means.
func TestNegotiate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   error
		text   string
	}{
		{"a list", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, " [\"v25.10.0\"]\n") }, nil, ""},
		{"no such path", http.NotFound, ErrUnsupported, "25.04.2"},
		{"starting", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, ErrUnavailable, "returned 502"},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, ErrUnavailable, "other than a list of versions"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `["v25.10.0"]`)
		}, ErrUnavailable, "unexpected EOF"},
		{"only unknown ones", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `["v99.0.0"]`) }, ErrUnsupported, "newer than this program"},
	} {
		server := httptest.NewServer(tt.answer)
		d, err := newDialer(Config{URL: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.negotiate(within(t, 10*time.Second))
		if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) || (err == nil) != (got.release == R25_10) {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
		d.close()
		server.Close()
	}
}

func TestParseVersion(t *testing.T) {
	for name, want := range map[string]Release{"v25.10.1": {25, 10, 1}, "v26": {26, 0, 0}, "v25.04": {25, 4, 0}} {
		if got, err := parseVersion(name); err != nil || got.version != want || got.name != name {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "v", "25.10.1", "v25.-1.0", "v25.x", "v1.2.3.4", "current", "v25..1"} {
		if got, err := parseVersion(name); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestBrokenDownload: a download whose transfer breaks off does not end like a complete file, even if the job of the NAS succeeded.
func TestBrokenDownload(t *testing.T) {
	job := jobFields(7, JobSuccess, 100)
	job["method"] = getMethod
	nas, c := asks(t, []any{job})
	passed := 0
	d := &download{ctx: within(t, 10*time.Second), s: c.s, id: 7, passed: func(n int) { passed += n },
		body: io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF)))}
	got, err := io.ReadAll(d)
	if string(got) != "half" || passed != 4 || !errors.Is(err, ErrUnavailable) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %q, %v, %d bytes reported", got, err, passed)
	}
	if n, again := d.Read(make([]byte, 8)); n != 0 || !errors.Is(again, ErrUnavailable) {
		t.Errorf("the next read: %d, %v", n, again)
	}
	if n := len(nas.methods()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestCounter checks that what is read of a source reaches the upload: its bytes, its end and its failure.
func TestCounter(t *testing.T) {
	var sent []int64
	passed := 0
	c := &counter{from: iotest.OneByteReader(strings.NewReader("abc")), progress: func(n int64) { sent = append(sent, n) }, passed: func(n int) { passed += n }}
	buf := make([]byte, 2)
	for i := range 3 {
		if n, err := c.Read(buf); n != 1 || err != nil {
			t.Fatalf("read %d: %d, %v", i, n, err)
		}
	}
	if n, err := c.Read(buf); n != 0 || err != io.EOF || c.err.Load() != nil {
		t.Errorf("at the end: %d, %v, %v", n, err, c.err.Load())
	}
	if !slices.Equal(sent, []int64{1, 2, 3}) || passed != 3 {
		t.Errorf("progress %v, %d bytes", sent, passed)
	}
	broken := errors.New("broken")
	c = &counter{from: iotest.ErrReader(broken), passed: func(int) {}}
	if n, err := c.Read(buf); n != 0 || err != broken || c.err.Load() == nil || *c.err.Load() != broken {
		t.Errorf("a source that fails: %d, %v", n, err)
	}
}

// TestCloseEndsSmallUploads: a small upload outlasts its context and not the client.
func TestCloseEndsSmallUploads(t *testing.T) {
	nas := newFakeNAS(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	nas.upload = func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-release
	}
	t.Cleanup(func() { close(release) })
	c := nas.client()
	ctx, cancel := context.WithCancel(within(t, 20*time.Second))
	done := make(chan error, 1)
	go func() { done <- c.Files.Put(ctx, "/mnt/tank/f", 0o600, strings.NewReader("x"), 1, nil) }()
	<-arrived
	cancel()
	select {
	case err := <-done:
		t.Fatalf("the upload ended with its context: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, ErrUncertain) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the upload outlasts the client")
	}
}

// TestCloseEndsWaitingForJobs: callers that wait for a job return when the client is closed.
func TestCloseEndsWaitingForJobs(t *testing.T) {
	nas, c := asks(t, 12)
	done := make(chan error, 1)
	go func() { done <- c.VMs.Stop(within(t, 20*time.Second), 1, StopOptions{}, nil) }()
	nas.next()
	eventually(t, "the job is waited for", func() bool {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		return len(c.s.st.jobs.waiting) == 1
	})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "the client is closed") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the wait outlasts the client")
	}
}

// TestWaitQueriesAgain: a query of a job that the NAS is too busy for is repeated, and a job that was queried once is queried again
// after a lost link.
func TestWaitQueriesAgain(t *testing.T) {
	nas := newFakeNAS(t)
	var asked atomic.Int64
	nas.script = func(p *peer, f frame) {
		switch asked.Add(1) {
		case 1:
			p.answer(f, wireFailure{"code": -32000, "message": "Too many concurrent calls"})
		case 2:
			p.answer(f, []any{jobFields(10, JobRunning, 50)})
		default:
			p.answer(f, []any{jobFields(10, JobSuccess, 100)})
		}
	}
	c := nas.client()
	reported := make(chan Progress, 1)
	done := make(chan error, 1)
	go func() {
		_, err := c.Jobs.Wait(within(t, 20*time.Second), 10, func(p Progress) { reported <- p })
		done <- err
	}()
	if p := <-reported; p.Percent != 50 {
		t.Errorf("progress %+v", p)
	}
	nas.nextPeer().cut()
	if err := <-done; err != nil {
		t.Errorf("got %v", err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("%d queries", n)
	}
}

// TestUnsubscribeIsBoundToItsLink: the id of a subscription means nothing on the next link.
func TestUnsubscribeIsBoundToItsLink(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) {
		if f.Method != "core.unsubscribe" {
			p.answer(f, map[string]any{"id": 1})
		}
	}
	c := nas.client()
	events, cancel := listen(c, "vm.query")
	wantKinds(t, events, EventReset)
	cancel()
	if f := nas.next(); f.Method != "core.unsubscribe" {
		t.Fatalf("sent %s", f.Method)
	}
	nas.nextPeer().cut()
	nas.nextPeer()
	if _, err := c.VMs.Get(within(t, 10*time.Second), 1); err != nil {
		t.Fatal(err)
	}
	if got := nas.methods(); !slices.Equal(got, []string{"core.unsubscribe", "vm.get_instance"}) {
		t.Errorf("sent %v", got)
	}
}

// TestSlowSecondLoginIsWaitedFor: after a failed attempt, calls wait for the next one as soon as the NAS responds to it.
func TestSlowSecondLoginIsWaitedFor(t *testing.T) {
	nas := newFakeNAS(t)
	gate := make(chan struct{})
	nas.script = func(p *peer, f frame) { p.answer(f, map[string]any{"id": 1}) }
	nas.login = func() any {
		if nas.logins.Load() == 1 {
			return "of another form"
		}
		<-gate
		return map[string]any{"response_type": "SUCCESS"}
	}
	c := nas.client(func(cfg *Config) { cfg.ConnectWait = 20 * time.Millisecond })
	ctx := within(t, 20*time.Second)
	if _, err := c.VMs.Get(ctx, 1); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the first login: %v", err)
	}
	eventually(t, "the second login begins", func() bool { return nas.logins.Load() == 2 })
	done := make(chan error, 1)
	go func() {
		_, err := c.VMs.Get(ctx, 1)
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("the call ended before the login: %v", err)
		close(gate)
		return
	case <-time.After(100 * time.Millisecond):
	}
	close(gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWatchSlots checks that only calls without callers, in all slots, have their link replaced, and that one answer saves it.
func TestWatchSlots(t *testing.T) {
	caller, left := &request{}, &request{abandoned: true}
	for _, tt := range []struct {
		name    string
		queue   []*request
		pending map[int64]*request
		want    bool
	}{
		{"idle", nil, nil, false},
		{"no slot is in use", []*request{caller}, nil, false},
		{"no call waits", nil, map[int64]*request{1: left}, false},
		{"one call in a slot has a caller", []*request{caller}, map[int64]*request{1: left, 2: caller}, false},
		{"all slots are lost", []*request{caller}, map[int64]*request{1: left, 2: left}, true},
	} {
		s, l := &session{slotTimeout: time.Hour, st: state{queue: tt.queue, pending: tt.pending}}, &link{}
		s.watchSlots(l)
		if (l.slotTimer != nil) != tt.want {
			t.Errorf("%s: %t", tt.name, l.slotTimer != nil)
		}
		first := l.slotTimer
		if s.watchSlots(l); l.slotTimer != first {
			t.Errorf("%s: the time begins again", tt.name)
		}
		s.st.pending = nil
		if s.watchSlots(l); l.slotTimer != nil {
			t.Errorf("%s: the link is replaced although slots are free", tt.name)
		}
	}
}

// TestRoleInErrors names the role of a refused call. The failure of a job is not about the call.
func TestRoleInErrors(t *testing.T) {
	for _, tt := range []struct {
		err  Error
		want bool
	}{
		{Error{Method: "vm.start", Errno: eACCES}, true},
		{Error{Method: "vm.start", Errno: eBUSY}, false},
		{Error{Method: "vm.stop", Errno: eACCES, Job: 1}, false},
		{Error{Method: "auth.login_ex", Errno: eACCES}, false},
	} {
		if got := strings.Contains(tt.err.Error(), "needs the role VM_WRITE"); got != tt.want {
			t.Errorf("%v", tt.err.Error())
		}
	}
	long := (&Error{Method: "m", Reason: strings.Repeat("x", maxText-3)}).Error()
	if len(long) != maxText {
		t.Errorf("%d bytes", len(long))
	}
	if longer := (&Error{Method: "m", Reason: strings.Repeat("x", maxText-2)}).Error(); longer != long[:maxText]+"…" {
		t.Errorf("one byte more: %d bytes", len(longer))
	}
}

// TestUnconnected passes the reason for a missing link on without its kind, and never an empty text.
func TestUnconnected(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{unavailable("down", nil), "down"},
		{&Error{Method: "m", kind: ErrAuth}, "m: login refused"},
		{errors.New("plain"), "plain"},
	} {
		if got := unconnected(tt.err); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
