package truenas

import "sync"

// backlog limits the events that wait for a slow listener. Beyond it one reset replaces them, which
// makes the listener read all records again.
const backlog = 4096

// A listener passes events to one function, in order, from one goroutine.
type listener struct {
	fn func(Event)

	mu    sync.Mutex
	queue []Event
	done  bool

	wake chan struct{}
	quit chan struct{}
}

func newListener(fn func(Event)) *listener {
	return &listener{fn: fn, wake: make(chan struct{}, 1), quit: make(chan struct{})}
}

// put never blocks: the reader of the connection calls it.
func (l *listener) put(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= backlog {
		l.queue = append(l.queue[:0], Event{Kind: EventLost, Seq: e.Seq}, Event{Kind: EventReset, Seq: e.Seq})
	}
	l.queue = append(l.queue, e)
	wake(l.wake)
}

// close drops waiting events; fn may call it, and more than once.
func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done {
		l.done = true
		close(l.quit)
	}
}

func (l *listener) run() {
	for {
		select {
		case <-l.quit:
			return
		case <-l.wake:
		}
		for _, e := range l.take() {
			select {
			case <-l.quit:
				return
			default:
				l.fn(e)
			}
		}
	}
}

func (l *listener) take() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := l.queue
	l.queue = nil
	return events
}
