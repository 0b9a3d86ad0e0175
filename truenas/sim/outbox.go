package sim

import "sync"

// outbox holds the unsent messages of a connection. Events are added with the simulator's lock held, so put never waits.
type outbox struct {
	mu     sync.Mutex
	filled *sync.Cond
	frames [][]byte
	closed bool
}

// outboxLimit is the maximum number of messages for a peer that does not read.
const outboxLimit = 1 << 16

func newOutbox() *outbox {
	o := &outbox{}
	o.filled = sync.NewCond(&o.mu)
	return o
}

// put adds a message. It returns false if the outbox is full.
func (o *outbox) put(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) >= outboxLimit {
		return false
	}
	o.frames = append(o.frames, frame)
	o.filled.Signal()
	return true
}

// take waits for messages and returns all of them. more is false after the outbox is closed.
func (o *outbox) take() (frames [][]byte, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) == 0 && !o.closed {
		o.filled.Wait()
	}
	frames, o.frames = o.frames, nil
	return frames, !o.closed
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.filled.Signal()
}
