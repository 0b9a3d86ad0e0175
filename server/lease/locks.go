package lease

import (
	"context"
	"errors"
	"sync"

	"virtrigaud-provider-truenas/server/refusal"
)

// Locks serializes operations on a VM within this process. Between processes the NAS serializes them: it accepts the name of
// a VM and the path of a dataset once.
type Locks struct {
	mu   sync.Mutex
	held map[string]*waiters
}

type waiters struct {
	slot  chan struct{} // holds one token while the lock is free
	count int           // holders and waiters
	long  error         // the error for later callers, instead of a wait
}

// Lock waits for its turn on a key; it fails only when ctx ends first.
func (l *Locks) Lock(ctx context.Context, key string) (unlock func(), err error) {
	w, long := l.join(key)
	if long != nil {
		l.leave(key, w)
		return nil, long
	}
	select {
	case <-w.slot:
		return func() { l.holding(w, nil); w.slot <- struct{}{}; l.leave(key, w) }, nil
	case <-ctx.Done():
		l.leave(key, w)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, refusal.Aborted("%s is busy: another call is in progress", key)
		}
		return nil, ctx.Err()
	}
}

// LockLong is Lock for long operations: later callers get the error why without a wait.
func (l *Locks) LockLong(ctx context.Context, key string, why error) (unlock func(), err error) {
	unlock, err = l.Lock(ctx, key)
	if err == nil {
		l.mu.Lock()
		w := l.held[key]
		l.mu.Unlock()
		l.holding(w, why)
	}
	return unlock, err
}

func (l *Locks) holding(w *waiters, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.long = why
}

// join registers a caller that wants a lock. It returns the error of a long operation that holds the lock.
func (l *Locks) join(key string) (*waiters, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*waiters{}
	}
	w, ok := l.held[key]
	if !ok {
		w = &waiters{slot: make(chan struct{}, 1)}
		w.slot <- struct{}{}
		l.held[key] = w
	}
	w.count++
	return w, w.long
}

func (l *Locks) leave(key string, w *waiters) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.count--; w.count == 0 {
		delete(l.held, key)
	}
}

// Taken reports whether a caller holds a key or waits for it.
func (l *Locks) Taken(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key] != nil
}
