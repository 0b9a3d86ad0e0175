package sim

import (
	"encoding/json"
	"time"
)

// Limits of calls on one connection: running, and waiting.
const (
	callsRunning = 10
	callsWaiting = 10
)

// admit runs a request, now or when a running one ends, in the order of arrival. Only the connection's reader calls it.
func (c *session) admit(r request) {
	s := c.sim
	s.mu.Lock()
	if c.running >= callsRunning && len(c.waiting) >= callsWaiting {
		s.mu.Unlock()
		c.answer(r, nil, &CallError{
			Code:    codeTooMany,
			Message: "Maximum number of concurrent calls (20) has exceeded.",
		})
		return
	}
	f, notify := s.count(c.user != nil, r.method)
	s.mu.Unlock()
	if notify != nil {
		notify()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.closed || s.closed {
		return
	}
	run := func() { c.serve(r, f) }
	if c.running < callsRunning {
		c.running++
		s.spawn(run)
		return
	}
	c.waiting = append(c.waiting, run)
}

// finished gives the slot of a finished call to the longest waiting one.
func (c *session) finished() {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if len(c.waiting) == 0 {
		c.running--
		return
	}
	run := c.waiting[0]
	c.waiting = c.waiting[1:]
	c.sim.spawn(run)
}

// serve runs one request and replies to it, with the fault.
func (c *session) serve(r request, f Fault) {
	defer c.finished()
	c.sim.pause(c.sim.late() + f.before())
	if c.outlived() {
		return
	}
	switch f.Then {
	case CutBefore:
		c.cut()
		return
	case Refuse:
		c.sim.transcript.call(r, nil, f.Err)
		c.answer(r, nil, f.Err)
		return
	}
	result, err := c.perform(r, f)
	c.sim.transcript.call(r, result, err)
	c.sim.pause(f.after())
	switch f.Then {
	case DropReply:
	case Restart:
		if !c.sim.methods[r.method].job { // A job writes its own line.
			c.sim.RestartMiddleware()
		}
	case CutAfter:
		c.cut()
	case RefuseAfter:
		c.answer(r, nil, f.Err)
	case AnswerTwice:
		c.answer(r, result, err)
		c.answer(r, result, err)
	default:
		c.answer(r, result, err)
	}
}

// outlived reports whether the middleware has restarted since it received the session's calls.
func (c *session) outlived() bool {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	return c.life != c.sim.life
}

// answer replies to a request, unless it has no id.
func (c *session) answer(r request, result json.RawMessage, err *CallError) {
	switch {
	case r.id == nil:
	case err != nil:
		c.send(errorFrame(r.id, err))
	default:
		c.send(replyFrame(r.id, result))
	}
}

// perform handles a request and encodes the result. It holds the lock throughout, because a result may be part of the state.
func (c *session) perform(r request, f Fault) (json.RawMessage, *CallError) {
	s := c.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	result, err := c.run(r, f)
	if err != nil {
		return nil, onWire(err)
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return nil, onWire(err)
	}
	return raw, nil
}

// run calls the method, or starts its job.
func (c *session) run(r request, f Fault) (any, error) {
	m, ok := c.sim.methods[r.method]
	if !ok {
		return nil, &CallError{Code: codeNoMethod}
	}
	if err := c.authorize(r.method, m); err != nil {
		return nil, err
	}
	switch {
	case m.input:
		return nil, uncaught("ClientException", "Pipe 'input' is not open")
	case m.output:
		return nil, uncaught("ClientException", "Pipe 'output' is not open")
	}
	m = c.sim.reaching(r.method, m)
	call := &call{sim: c.sim, session: c, method: r.method, params: r.params, during: f.overlap(), half: f.Then == DestroyHalf}
	if !m.job {
		return m.run(call)
	}
	j, err := c.sim.startJob(call, f.on(m))
	if err != nil {
		return nil, err
	}
	return j.id, nil
}

// pause waits for wall time, or until the simulator is closed.
func (s *Sim) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}
