package truenas

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A session is the implementation of a Client: the current link, the waiting calls and the
// subscriptions. All of that is one state. It changes only in [session.update], and
// [session.settle] restores its invariants.
type session struct {
	cfg         Config
	dialer      *dialer
	keys        scramKeys     // derived keys, used by the connecting goroutine only
	newer       string        // the unknown version for which a warning was logged
	slotTimeout time.Duration // how long abandoned calls may hold all slots
	absent      time.Duration // how long one of them may hold its slot
	queued      int           // how many calls may wait
	silence     time.Duration // how long an upload's source may deliver no data
	logins      *rate.Limiter
	ctx         context.Context // ends with Close
	stop        context.CancelFunc
	wg          sync.WaitGroup

	mu sync.Mutex
	st state
}

// state is guarded by the session's lock.
type state struct {
	started, closed bool

	link    *link // nil while there is none
	epoch   int   // counts links
	release Release
	since   time.Time // time of the last change of link
	reason  error     // why there is no link
	fatal   bool      // reason is permanent
	attempt attempt   // to open the next link

	held     time.Time          // no changes are written before this time
	released *time.Timer        // settles again at that time; nil if changes are not held back
	seq      int64              // id of the last call
	queue    []*request         // not written, ordered by id
	pending  map[int64]*request // passed to the link

	topics  map[string]*topic
	heard   uint64 // events so far
	jobs    jobTable
	changed chan struct{} // closed and replaced when link or reason changes
}

// A request is a call with a waiting caller, or one of the session itself.
type request struct {
	id     int64
	method string
	frame  []byte
	kind   kind
	born   time.Time

	sent      bool      // the writer has started to write it: from now on it may take effect
	abandoned bool      // its caller has left; it keeps its slot
	left      time.Time // when it was abandoned
	again     bool      // refused once because the login had ended
	finished  bool

	// own is set for a call of the session itself. Such a call is bound to the link it was made
	// for; own receives the reply, with the lock held.
	own func(json.RawMessage, error)

	done   chan struct{}
	result json.RawMessage
	err    error
}

// firstCall separates ids of calls from those made while a link is opened.
const firstCall = 1000

// defaultSlotTimeout is how long abandoned calls may hold all slots while others wait, before the link is
// replaced.
const defaultSlotTimeout = 5 * time.Second

func newSession(cfg Config) (*session, error) {
	d, err := newDialer(cfg)
	if err != nil {
		return nil, err
	}
	s := &session{cfg: cfg, dialer: d, keys: scramKeys{}, slotTimeout: defaultSlotTimeout, absent: cfg.writtenOff(), queued: maxQueued, silence: uploadSilence, logins: rate.NewLimiter(rate.Every(cfg.LoginEvery), loginBurst)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.st = state{
		seq: firstCall, since: time.Now(), pending: map[int64]*request{}, changed: make(chan struct{}),
		topics: map[string]*topic{jobEvents: {}}, jobs: newJobTable(),
		reason: unavailable("not connected yet", nil), held: time.Now().Add(cfg.Holdback),
	}
	return s, nil
}

// update is the only way to change the state.
func (s *session) update(change func(*state)) {
	for _, job := range s.updated(change) {
		s.cfg.Hooks.OnJob(job)
	}
}

// updated changes the state and returns the jobs that ended by the change, if a hook wants them.
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

// settle passes to the link what may be written: first its missing subscriptions, then calls in
// order, up to the limit of calls in flight.
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
	s.watchSlots(l)
}

// watchSlots replaces a link whose slots are all held by abandoned calls for some time: their
// replies may be lost. The NAS counts calls per connection, so a new link starts with none.
func (s *session) watchSlots(l *link) {
	abandoned := len(s.st.queue) > 0 && len(s.st.pending) > 0
	for _, r := range s.st.pending {
		abandoned = abandoned && r.abandoned
	}
	switch {
	case abandoned && l.slotTimer == nil:
		l.slotTimer = time.AfterFunc(s.slotTimeout, func() { l.fail(errSlotsHeld) })
	case !abandoned && l.slotTimer != nil:
		l.slotTimer.Stop()
		l.slotTimer = nil
	}
}

// next returns the request to write now, or nil. From here on it may take effect.
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

// enqueue queues a call; it fails at once if waiting is pointless.
func (s *session) enqueue(r *request) error {
	var refused error
	s.update(func(st *state) {
		if reason := st.refusal(); reason != nil {
			refused = callError(r.method, reason)
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

// refusal returns the reason for not waiting for a link, or nil.
func (st *state) refusal() error {
	switch {
	case st.closed:
		return unavailable("the client is closed", nil)
	case st.fatal:
		return st.reason
	}
	return nil
}

// begin starts the connecting goroutine at the first use of the client.
func (s *session) begin(st *state) {
	if st.started || st.closed {
		return
	}
	st.started = true
	s.wg.Go(s.run)
}

// newRequest encodes a call; ids grow in the order of calls.
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

// finish completes a request once.
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

// requeue returns calls that have not taken effect to the head of the queue, in order.
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

// wake never blocks: one pending signal is enough.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
