package sim

import "sync"

// outbox holds the messages that a connection has yet to write. Events are put
// into it with the simulator's lock held, so putting never waits.
type outbox struct {
	mu     sync.Mutex
	filled *sync.Cond
	frames [][]byte
	closed bool
}

// outboxLimit is how many messages may wait for a peer that does not read.
const outboxLimit = 1 << 16

func newOutbox() *outbox {
	o := &outbox{}
	o.filled = sync.NewCond(&o.mu)
	return o
}

// put adds a message. It is false when the peer is hopelessly behind.
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

// take waits for messages and gives all there are. more is false when the
// outbox has been closed.
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
