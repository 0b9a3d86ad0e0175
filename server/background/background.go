package background

import (
	"context"
	"sync"
	"time"
)

// FailureAge is how long a failure is kept for the next caller.
const FailureAge = 10 * time.Minute

// Works is the background work of RPCs that have returned, by key; T is its state. State that must outlive this process is on the
// NAS: Works only prevents duplicate work within one process, and keeps the last failure.
type Works[T any] struct {
	ctx   context.Context  // ends with the server
	keeps func(error) bool // selects the failures to keep

	wait    sync.WaitGroup
	mu      sync.Mutex
	running map[string]*Work[T]
	failed  map[string]failure[T]
	done    map[string]time.Time // when a work succeeded
}

// Work is one unit of background work.
type Work[T any] struct {
	about T // guarded by the lock of Works
	Since time.Time
	Begin func()        // called when the NAS has the record of the work
	Begun chan struct{} // closed by Begin
	Done  chan struct{}
	Err   error     // valid after the work is done
	Until time.Time // earliest retry after a failure; zero: right after it was reported
}

// SuccessAge is how long [Works.JustDone] reports a success.
const SuccessAge = 2 * time.Second

type failure[T any] struct {
	about T
	err   error
	at    time.Time
	until time.Time
}

// New returns an empty set of works. keeps selects the failures to keep.
func New[T any](ctx context.Context, keeps func(error) bool) *Works[T] {
	return &Works[T]{ctx: ctx, keeps: keeps, running: map[string]*Work[T]{}, failed: map[string]failure[T]{}, done: map[string]time.Time{}}
}

// Start begins work in the background and returns it, or returns the work for this key that is in progress already. It returns nil
// when the process ends.
func (ws *Works[T]) Start(key string, about T, do func(context.Context, *Work[T]) error) *Work[T] {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w, ok := ws.running[key]; ok || ws.ctx.Err() != nil {
		return w
	}
	w := &Work[T]{about: about, Since: time.Now(), Begun: make(chan struct{}), Done: make(chan struct{})}
	w.Begin = sync.OnceFunc(func() { close(w.Begun) })
	ws.running[key] = w
	delete(ws.failed, key)
	delete(ws.done, key)
	ws.wait.Go(func() {
		defer close(w.Done)
		w.Err = do(ws.ctx, w)
		ws.ended(key, w)
	})
	return w
}

// ended removes a work and keeps its result. An interruption by the end of the process is not a failure.
func (ws *Works[T]) ended(key string, w *Work[T]) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.running, key)
	if w.Err != nil && ws.ctx.Err() == nil && ws.keeps(w.Err) {
		ws.failed[key] = failure[T]{w.about, w.Err, time.Now(), w.Until}
	}
	if w.Err == nil && ws.ctx.Err() == nil {
		ws.done[key] = time.Now()
	}
}

// JustDone reports whether a work succeeded at most [SuccessAge] ago, for callers that polled for its end.
func (ws *Works[T]) JustDone(key string) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	at, ok := ws.done[key]
	if ok && time.Since(at) > SuccessAge {
		delete(ws.done, key)
		return false
	}
	return ok
}

// State reports whether work is in progress, or why the last attempt failed. It returns a failure once, so that the next
// caller retries, or until the earliest retry if the failure has one.
func (ws *Works[T]) State(key string) (running bool, err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.running[key]; ok {
		return true, nil
	}
	f, ok := ws.failed[key]
	if ok && time.Now().Before(f.until) {
		return false, f.err
	}
	delete(ws.failed, key)
	if !ok || !f.until.IsZero() || time.Since(f.at) > FailureAge {
		return false, nil
	}
	return false, f.err
}

// Peek is State for callers that do not retry. It keeps the failure.
func (ws *Works[T]) Peek(key string) (running bool, err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.running[key]; ok {
		return true, nil
	}
	if f, ok := ws.failed[key]; ok && time.Since(f.at) <= FailureAge {
		return false, f.err
	}
	return false, nil
}

// Get returns the state of work in progress.
func (ws *Works[T]) Get(key string) (about T, running bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w, ok := ws.running[key]; ok {
		return w.about, true
	}
	return about, false
}

// Note changes the state of a work.
func (ws *Works[T]) Note(w *Work[T], change func(*T)) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	change(&w.about)
}

// Each visits all work in progress, with a nil error, and all recent failures.
func (ws *Works[T]) Each(visit func(key string, about T, at time.Time, err error)) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for key, w := range ws.running {
		visit(key, w.about, w.Since, nil)
	}
	for key, f := range ws.failed {
		if time.Since(f.at) <= FailureAge {
			visit(key, f.about, f.at, f.err)
		}
	}
}

// Wait returns when no work is in progress.
func (ws *Works[T]) Wait() { ws.wait.Wait() }

// Interrupted reports whether the context of all work has ended.
func (ws *Works[T]) Interrupted() bool { return ws.ctx.Err() != nil }
