package truenas

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A session is everything behind a Client: the link there is now, the calls
// that wait for it, and what is subscribed. All of that is one state, which
// changes only in [session.update] and by rules that are kept there, in
// [session.settle].
type session struct {
	cfg     Config
	dialer  *dialer
	keys    scramKeys     // derived keys, used by the connecting goroutine only
	newer   string        // the unknown version that was warned of
	hunger  time.Duration // how long calls that nobody waits for may hold every place
	absent  time.Duration // how long one of them may hold its place
	queued  int           // how many calls may wait
	silence time.Duration // how long an upload's source may give no byte
	logins  *rate.Limiter
	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu sync.Mutex
	st state
}

// state is guarded by the session's lock.
type state struct {
	started, closed bool

	link    *link // nil while there is none
	epoch   int   // counts links
	release Release
	since   time.Time // of the last change of link
	reason  error     // why there is no link
	fatal   bool      // reason will not pass by itself
	attempt attempt   // to open the next link

	held     time.Time          // until when no change is written
	released *time.Timer        // settles again then; nil while nothing is held back
	seq      int64              // id of the last call
	queue    []*request         // not written, in order of their ids
	pending  map[int64]*request // given to the link

	topics  map[string]*topic
	heard   uint64 // events so far
	jobs    jobTable
	changed chan struct{} // closed and replaced when link or reason changes
}

// A request is a call that somebody waits for, or that the session makes for
// itself.
type request struct {
	id     int64
	method string
	frame  []byte
	kind   kind
	born   time.Time

	sent      bool      // the writer has begun to write it: from here on it may happen
	abandoned bool      // nobody waits any more; it holds its place in flight
	left      time.Time // when it was abandoned
	again     bool      // refused once because the login was gone
	finished  bool

	// own is set for a call of the session itself: it dies with the link it was
	// made for, and own is called with the answer, the lock held.
	own func(json.RawMessage, error)

	done   chan struct{}
	result json.RawMessage
	err    error
}

// firstCall keeps ids of calls apart from those made while a link is opened.
const firstCall = 1000

// starvation is how long calls that nobody waits for may hold every place in
// flight while others wait, before the link is replaced.
const starvation = 5 * time.Second

func newSession(cfg Config) (*session, error) {
	d, err := newDialer(cfg)
	if err != nil {
		return nil, err
	}
	s := &session{cfg: cfg, dialer: d, keys: scramKeys{}, hunger: starvation, absent: cfg.writtenOff(), queued: maxQueued, silence: uploadSilence, logins: rate.NewLimiter(rate.Every(cfg.LoginEvery), loginBurst)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.st = state{
		seq: firstCall, since: time.Now(), pending: map[int64]*request{}, changed: make(chan struct{}),
		topics: map[string]*topic{jobEvents: {}}, jobs: newJobTable(),
		reason: unavailable("the first connection has not been made yet", nil), held: time.Now().Add(cfg.Holdback),
	}
	return s, nil
}

// update is the only way to change the state.
func (s *session) update(change func(*state)) {
	for _, job := range s.updated(change) {
		s.cfg.Hooks.OnJob(job)
	}
}

// updated changes the state and returns the jobs that have ended by it, when
// somebody wants to hear of them.
func (s *session) updated(change func(*state)) (ended []Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.st)
	s.settle()
	if s.cfg.Hooks.OnJob != nil {
		ended = s.st.jobs.ended
	}
	s.st.jobs.ended = nil
	return ended
}

// settle gives the link what may be written: first subscriptions that it lacks,
// then calls in order, as many as may be in flight.
func (s *session) settle() {
	st := &s.st
	l := st.link
	if l == nil || l.failed() {
		return
	}
	for name := range st.topics {
		if !l.asked[name] {
			l.asked[name] = true
			s.subscribeOn(l, name)
		}
	}
	for st.free(s.cfg.InFlight, s.absent) {
		r := s.due(st)
		if r == nil {
			break
		}
		st.pending[r.id] = r
		l.out = append(l.out, r)
		wake(l.wake)
	}
	s.watchHunger(l)
}

// watchHunger replaces a link whose every place in flight is held by calls that
// nobody waits for, when it stays so: their answers may have been lost. The
// NAS counts calls per connection, so a new link starts with none.
func (s *session) watchHunger(l *link) {
	hungry := len(s.st.queue) > 0 && len(s.st.pending) > 0
	for _, r := range s.st.pending {
		hungry = hungry && r.abandoned
	}
	switch {
	case hungry && l.hungry == nil:
		l.hungry = time.AfterFunc(s.hunger, func() { l.fail(errHungry) })
	case !hungry && l.hungry != nil:
		l.hungry.Stop()
		l.hungry = nil
	}
}

// next is the request to write now, or nil. From here on it may happen.
func (s *session) next(l *link) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(l.out) == 0 || s.st.link != l || l.failed() {
		return nil
	}
	r := l.out[0]
	l.out = l.out[1:]
	r.sent = true
	return r
}

// enqueue takes a call in; it fails at once when waiting is pointless.
func (s *session) enqueue(r *request) error {
	var refused error
	s.update(func(st *state) {
		if reason := st.refusal(); reason != nil {
			refused = passOn(r.method, reason)
			return
		}
		if refused = st.full(r.method, s.queued); refused != nil {
			return
		}
		s.begin(st)
		st.queue = append(st.queue, r)
	})
	return refused
}

// refusal is why a call should not wait for a link.
func (st *state) refusal() error {
	switch {
	case st.closed:
		return unavailable("the client is closed", nil)
	case st.fatal:
		return st.reason
	}
	return nil
}

// begin starts the connecting goroutine with the first use of the client.
func (s *session) begin(st *state) {
	if st.started || st.closed {
		return
	}
	st.started = true
	s.wg.Go(s.run)
}

// newRequest encodes a call; ids are in the order of calls.
func (s *session) newRequest(method string, kind kind, params []any) (*request, error) {
	s.mu.Lock()
	s.st.seq++
	id := s.st.seq
	s.mu.Unlock()
	frame, err := encodeCall(id, method, params)
	if err != nil {
		return nil, err
	}
	return &request{id: id, method: method, frame: frame, kind: kind, born: time.Now(), done: make(chan struct{})}, nil
}

// finish answers a request once.
func (r *request) finish(result json.RawMessage, err error) {
	if r.finished {
		return
	}
	r.finished = true
	r.result, r.err = result, err
	close(r.done)
	if r.own != nil {
		r.own(result, err)
	}
}

// requeue puts calls that have not happened back in front, in order.
func (st *state) requeue(calls ...*request) {
	for _, r := range calls {
		r.sent = false
		st.queue = append(st.queue, r)
	}
	slices.SortFunc(st.queue, func(a, b *request) int { return int(a.id - b.id) })
}

func (st *state) announce() {
	close(st.changed)
	st.changed = make(chan struct{})
}

// wake never blocks: one signal is as good as many.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
