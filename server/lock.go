package server

import (
	"context"
	"errors"
	"sync"
)

// locks lets one operation at a time work on a VM within this process. Between processes the
// NAS decides: a VM's name and a dataset's path are taken once.
type locks struct {
	mu   sync.Mutex
	held map[string]*waiters
}

type waiters struct {
	slot  chan struct{} // holds one token while nobody has the lock
	count int           // holders and waiters
}

// lock waits for its turn on a key; it fails only when ctx ends first.
func (l *locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	w := l.join(key)
	select {
	case <-w.slot:
		return func() { w.slot <- struct{}{}; l.leave(key, w) }, nil
	case <-ctx.Done():
		l.leave(key, w)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, aborted("another call is still at work on %s", key)
		}
		return nil, ctx.Err()
	}
}

func (l *locks) join(key string) *waiters {
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
	return w
}

func (l *locks) leave(key string, w *waiters) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.count--; w.count == 0 {
		delete(l.held, key)
	}
}

// taken says whether anybody holds a key or waits for it.
func (l *locks) taken(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key] != nil
}
