package server

import (
	"context"
	"sync"
	"time"
)

// failureAge is how long a failure is kept for the next caller.
const failureAge = 10 * time.Minute

// works is the background work of RPCs that have returned, by its key; T is its state. State that has to outlive this process
// is on the NAS: works only prevents duplicate work within one process, and keeps the last failure.
type works[T any] struct {
	ctx   context.Context  // ends with the server
	keeps func(error) bool // which failures are remembered

	wait    sync.WaitGroup
	mu      sync.Mutex
	running map[string]*work[T]
	failed  map[string]failure[T]
}

// work is one of them.
type work[T any] struct {
	about T // guarded by the lock of all
	since time.Time
	begin func()        // to be called when the NAS knows what is meant to be there
	begun chan struct{} // is closed then
	done  chan struct{}
	err   error     // to be read when it is done
	until time.Time // earliest retry after a failure; zero: at once after it was reported
}

type failure[T any] struct {
	about T
	err   error
	at    time.Time
	until time.Time
}

func newWorks[T any](ctx context.Context, keeps func(error) bool) *works[T] {
	return &works[T]{ctx: ctx, keeps: keeps, running: map[string]*work[T]{}, failed: map[string]failure[T]{}}
}

// start does something in the background and answers it, or the same that is under way already. It answers nil when the
// process ends.
func (ws *works[T]) start(key string, about T, do func(context.Context, *work[T]) error) *work[T] {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w, ok := ws.running[key]; ok || ws.ctx.Err() != nil {
		return w
	}
	w := &work[T]{about: about, since: time.Now(), begun: make(chan struct{}), done: make(chan struct{})}
	w.begin = sync.OnceFunc(func() { close(w.begun) })
	ws.running[key] = w
	delete(ws.failed, key)
	ws.wait.Go(func() {
		defer close(w.done)
		w.err = do(ws.ctx, w)
		ws.ended(key, w)
	})
	return w
}

// ended removes a work and keeps its failure. An interruption by the end of the process is not a failure.
func (ws *works[T]) ended(key string, w *work[T]) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.running, key)
	if w.err != nil && ws.ctx.Err() == nil && ws.keeps(w.err) {
		ws.failed[key] = failure[T]{w.about, w.err, time.Now(), w.until}
	}
}

// state reports whether work is in progress, or why the last attempt failed. It returns a failure once, so that the next caller
// retries, or until the earliest retry where the failure has one.
func (ws *works[T]) state(key string) (running bool, err error) {
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
	if !ok || !f.until.IsZero() || time.Since(f.at) > failureAge {
		return false, nil
	}
	return false, f.err
}

// peek is state for callers that do not retry. It keeps the failure.
func (ws *works[T]) peek(key string) (running bool, err error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.running[key]; ok {
		return true, nil
	}
	if f, ok := ws.failed[key]; ok && time.Since(f.at) <= failureAge {
		return false, f.err
	}
	return false, nil
}

// get returns the state of work in progress.
func (ws *works[T]) get(key string) (about T, running bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if w, ok := ws.running[key]; ok {
		return w.about, true
	}
	return about, false
}

// note changes the state of a work.
func (ws *works[T]) note(w *work[T], change func(*T)) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	change(&w.about)
}

// each visits all work in progress, with a nil error, and all recent failures.
func (ws *works[T]) each(visit func(key string, about T, at time.Time, err error)) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for key, w := range ws.running {
		visit(key, w.about, w.since, nil)
	}
	for key, f := range ws.failed {
		if time.Since(f.at) <= failureAge {
			visit(key, f.about, f.at, f.err)
		}
	}
}
