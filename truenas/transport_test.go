package truenas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestRepliesOutOfOrder(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client()
	ctx := within(t, 10*time.Second)
	type outcome struct {
		asked, got int64
		err        error
	}
	done := make(chan outcome)
	for id := range int64(3) {
		go func() {
			vm, err := c.VMs.Get(ctx, id)
			done <- outcome{id, vm.ID, err}
		}()
	}
	frames := []frame{nas.next(), nas.next(), nas.next()}
	slices.Reverse(frames)
	for _, f := range frames {
		f.peer.answer(f, map[string]any{"id": f.Params[0]})
	}
	for range frames {
		if o := <-done; o.err != nil || o.asked != o.got {
			t.Errorf("requested %d, got %d, %v", o.asked, o.got, o.err)
		}
	}
}

func TestInFlightAndOrder(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client()
	ctx := within(t, 10*time.Second)
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	const calls = 25
	done := make(chan error, calls)
	for id := range calls {
		go func() {
			_, err := c.VMs.Get(ctx, int64(id))
			done <- err
		}()
		eventually(t, "the call is taken in", func() bool { a, b := c.waiting(); return a+b == id+1 })
	}
	if inFlight, queued := c.waiting(); inFlight != 10 || queued != calls-10 {
		t.Fatalf("%d in flight and %d in the queue", inFlight, queued)
	}
	for want := range calls {
		f := nas.next()
		if string(f.Params[0]) != fmt.Sprint(want) {
			t.Fatalf("got call %s instead of %d", f.Params[0], want)
		}
		if want >= 9 { // Ten calls are in flight: each reply admits one more.
			f.peer.answer(f, map[string]any{"id": want})
		}
	}
	for _, f := range nas.frames[:9] {
		f.peer.answer(f, map[string]any{"id": 0})
	}
	for range calls {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestChangeInFlightIsAwaited(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client()
	short, cancel := context.WithCancel(within(t, 10*time.Second))
	ended := make(chan error, 2)
	go func() { ended <- c.VMs.Start(short, 1, false) }()
	held := nas.next()
	go func() {
		_, err := c.VMs.Get(short, 1)
		ended <- err
	}()
	nas.next()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUncertain) {
		t.Errorf("the call waited for the reply to a read: %v", err)
	}
	held.peer.answer(held, nil)
	if err := <-ended; err != nil {
		t.Errorf("a change whose reply came after its context had ended: %v", err)
	}
}

func TestContextEndsWhileInFlight(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) { cfg.InFlight, cfg.Linger = 1, -1 })
	ctx := within(t, 10*time.Second)
	short, cancel := context.WithCancel(ctx)
	failed := make(chan error)
	go func() { failed <- c.VMs.Start(short, 1, false) }()
	held := nas.next()
	go func() {
		_, err := c.VMs.Get(ctx, 2)
		failed <- err
	}()
	eventually(t, "the second call waits", func() bool { _, queued := c.waiting(); return queued == 1 })
	cancel()
	err := <-failed
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUncertain) {
		t.Fatalf("a change that was sent: %v", err)
	}
	if inFlight, queued := c.waiting(); inFlight != 1 || queued != 1 {
		t.Fatalf("the slot is free although TrueNAS is still working: %d, %d", inFlight, queued)
	}
	held.peer.answer(held, nil)
	f := nas.next()
	f.peer.answer(f, map[string]any{"id": 2})
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func TestContextEndsInTheQueue(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) { cfg.InFlight = 1 })
	ctx := within(t, 10*time.Second)
	failed := make(chan error, 1)
	go func() {
		_, err := c.VMs.Get(ctx, 1)
		failed <- err
	}()
	held := nas.next()
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	err := c.VMs.Start(short, 2, false)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUncertain) {
		t.Fatalf("an unsent change: %v", err)
	}
	held.peer.answer(held, map[string]any{"id": 1})
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if got := nas.methods(); len(got) != 1 {
		t.Fatalf("sent: %v", got)
	}
}

func TestLinkLost(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) { cfg.InFlight = 2 })
	ctx := within(t, 20*time.Second)
	read, changed, queued := make(chan error), make(chan error), make(chan error)
	go func() {
		_, err := c.VMs.Get(ctx, 1)
		read <- err
	}()
	nas.next()
	go func() { changed <- c.VMs.Start(ctx, 2, false) }()
	nas.next()
	go func() { queued <- c.VMs.PowerOff(ctx, 3) }()
	eventually(t, "the third call waits", func() bool { _, n := c.waiting(); return n == 1 })
	nas.nextPeer().cut()

	if err := <-changed; !errors.Is(err, ErrUncertain) {
		t.Errorf("a change whose reply was lost: %v", err)
	}
	for range 2 {
		f := nas.next()
		f.peer.answer(f, map[string]any{"id": 1})
	}
	if err := <-read; err != nil {
		t.Errorf("the repeated read: %v", err)
	}
	if err := <-queued; err != nil {
		t.Errorf("the unsent change on the next link: %v", err)
	}
	want := []string{"vm.get_instance", "vm.start", "vm.get_instance", "vm.poweroff"}
	if got := nas.methods(); !slices.Equal(got, want) {
		t.Errorf("sent: %v", got)
	}
}

func TestSlotsHeldByLostReplies(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) { cfg.InFlight = 2 })
	c.s.slotTimeout = 20 * time.Millisecond
	ctx := within(t, 20*time.Second)
	short, cancel := context.WithCancel(ctx)
	failed := make(chan error)
	for range 2 {
		go func() {
			_, err := c.VMs.Get(short, 1)
			failed <- err
		}()
		nas.next()
	}
	cancel()
	<-failed
	<-failed
	go func() {
		_, err := c.VMs.Get(ctx, 9)
		failed <- err
	}()
	f := nas.next() // On a new link, because the old one has no free slot.
	f.peer.answer(f, map[string]any{"id": 9})
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if n := nas.logins.Load(); n != 2 {
		t.Errorf("%d logins", n)
	}
}

func TestHalfOpenLink(t *testing.T) {
	nas := newFakeNAS(t)
	deaf := make(chan struct{})
	t.Cleanup(func() { close(deaf) })
	var calls atomic.Int64
	nas.script = func(p *peer, f frame) {
		if calls.Add(1) == 1 { // Stops reading, so no ping gets a pong.
			<-deaf
			return
		}
		p.answer(f, map[string]any{"id": 5})
	}
	c := nas.client(func(cfg *Config) { cfg.Keepalive = 30 * time.Millisecond })
	if vm, err := c.VMs.Get(within(t, 10*time.Second), 5); err != nil || vm.ID != 5 {
		t.Fatalf("%v, %v", vm.ID, err)
	}
	if len(nas.methods()) != 2 {
		t.Errorf("sent: %v", nas.methods())
	}
}

func TestIdleSendsPingsOnly(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) { cfg.Keepalive = 5 * time.Millisecond })
	if err := c.Connect(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the client pings", func() bool { return nas.pings.Load() >= 10 })
	if got := nas.methods(); len(got) > 0 {
		t.Errorf("sent while idle: %v", got)
	}
	if c.Status().Latency <= 0 {
		t.Error("no latency was measured")
	}
}

func TestDuplicateReply(t *testing.T) {
	nas := newFakeNAS(t)
	nas.script = func(p *peer, f frame) {
		p.answer(f, map[string]any{"id": 1})
		p.answer(f, map[string]any{"id": 2})
	}
	c := nas.client()
	for range 3 {
		if vm, err := c.VMs.Get(within(t, 10*time.Second), 1); err != nil || vm.ID != 1 {
			t.Fatalf("%v, %v", vm.ID, err)
		}
	}
}

func TestGarbageReplacesTheLink(t *testing.T) {
	nas := newFakeNAS(t)
	var calls atomic.Int64
	nas.script = func(p *peer, f frame) {
		if calls.Add(1) == 1 {
			p.send("not an object")
			return
		}
		p.answer(f, map[string]any{"id": 1})
	}
	c := nas.client()
	if _, err := c.VMs.Get(within(t, 10*time.Second), 1); err != nil {
		t.Fatal(err)
	}
	if n := nas.logins.Load(); n != 2 {
		t.Errorf("%d logins", n)
	}
}

func TestTooLargeRequest(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client()
	_, err := c.VMs.Create(within(t, time.Second), VMCreate{Name: "a", Description: string(make([]byte, maxFrame))})
	if !errors.Is(err, ErrInvalid) {
		t.Fatal(err)
	}
}

func TestClose(t *testing.T) {
	nas := newFakeNAS(t)
	c := nas.client(func(cfg *Config) { cfg.InFlight = 1 })
	failed := make(chan error)
	for range 2 {
		go func() { failed <- c.VMs.Start(context.Background(), 1, false) }()
	}
	nas.next()
	eventually(t, "one call waits", func() bool { _, n := c.waiting(); return n == 1 })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	a, b := <-failed, <-failed
	if errors.Is(a, ErrUncertain) == errors.Is(b, ErrUncertain) {
		t.Errorf("want the sent call to be uncertain, the other not: %v; %v", a, b)
	}
	if err := c.VMs.Start(context.Background(), 1, false); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	if inFlight, queued := c.waiting(); inFlight != 0 || queued != 0 {
		t.Errorf("after Close %d calls are in flight and %d wait", inFlight, queued)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// TestHoldBack checks which calls on a broken link hold back later changes: only changes that the NAS may carry out late.
func TestHoldBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		call request
		want bool
	}{
		{"a sent change", request{kind: change, sent: true}, true},
		{"a sent job", request{kind: job, sent: true}, true},
		{"a change without its caller", request{kind: change, sent: true, abandoned: true}, true},
		{"an unsent change", request{kind: change}, false},
		{"a sent read", request{kind: read, sent: true}, false},
	} {
		st := &state{pending: map[int64]*request{1: {kind: read, sent: true}, 2: &tt.call}}
		st.holdBack(time.Hour)
		if held := time.Until(st.held); (held > 59*time.Minute) != tt.want {
			t.Errorf("%s: changes are held back for %v", tt.name, held)
		}
	}
}

// TestReleaseAfterAHold checks that the session wakes up once for the calls that a hold keeps in the queue, and never without
// one: an idle client would be busy forever.
func TestReleaseAfterAHold(t *testing.T) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	waiting := []*request{{kind: change}}
	for _, tt := range []struct {
		name string
		st   state
		want bool // another timer
	}{
		{"a call waits", state{queue: waiting}, true},
		{"no call waits", state{}, false},
		{"the client is closed", state{queue: waiting, closed: true}, false},
		{"a timer runs already", state{queue: waiting, released: timer}, false},
	} {
		before := tt.st.released
		new(session).releaseAfter(&tt.st, time.Hour)
		if got := tt.st.released != before; got != tt.want {
			t.Errorf("%s: another timer: %t", tt.name, got)
		}
		if tt.st.released != nil {
			tt.st.released.Stop()
		}
	}
}

// TestDueDuringAHold checks that reads overtake the changes that a hold keeps, and that changes keep their order after it.
func TestDueDuringAHold(t *testing.T) {
	s := new(session)
	st := &state{held: time.Now().Add(time.Hour)}
	for id, kind := range []kind{change, read, job, read} {
		st.queue = append(st.queue, &request{id: int64(id), kind: kind})
	}
	var got []int64
	take := func() {
		for r := s.due(st); r != nil; r = s.due(st) {
			got = append(got, r.id)
		}
	}
	take()
	if st.released == nil || len(st.queue) != 2 {
		t.Fatalf("%d calls wait for the end of the hold", len(st.queue))
	}
	st.released.Stop()
	st.held = time.Now()
	take()
	if want := []int64{1, 3, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

// TestClosedDialerKeepsNoConnections: a closed client leaves no idle connection on the NAS.
func TestClosedDialerKeepsNoConnections(t *testing.T) {
	closed := make(chan struct{}, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `["v25.10.0"]`) }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	d, err := newDialer(Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.negotiate(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
		t.Fatal("the connection is closed before the client is")
	default:
	}
	d.close()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("an idle connection is left")
	}
}
