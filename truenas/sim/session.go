package sim

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Maximum message sizes in bytes, before and after login.
const (
	frameLimitAnonymous     = 8192
	frameLimitAuthenticated = 65536
)

// session is one connection. An upload or download has one too, without a websocket.
type session struct {
	sim    *Sim
	peer   peer
	conn   *websocket.Conn // nil: an upload or a download
	out    *outbox         // nil for an upload or a download
	abort  func()          // ends an upload or a download at once
	cutOff atomic.Bool     // abort was called

	// The simulator's lock guards the fields below.
	life          int      // number of the middleware process that serves the connection
	user          *account // nil: not logged in
	scram         *scramExchange
	subscriptions map[string]string // id -> collection
	running       int
	waiting       []func() // calls, in order of arrival
	closed        bool     // cut or ended; later calls are not served
}

// serveWebsocket serves a connection until it ends.
func (s *Sim) serveWebsocket(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has replied
	}
	c := &session{sim: s, peer: s.peerOf(r), conn: conn, out: newOutbox(), subscriptions: map[string]string{}}
	if !s.register(c) {
		c.cut()
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write()
	}()
	c.read()
	s.unregister(c)
	c.out.close()
	<-written
	_ = conn.Close() // may already be cut
}

func (s *Sim) register(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.offline {
		return false
	}
	s.sessions[c], c.life = struct{}{}, s.life
	return true
}

// unregister forgets a connection and its waiting calls.
func (s *Sim) unregister(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, c)
	c.closed, c.waiting = true, nil
}

// read reads requests until the connection ends.
func (c *session) read() {
	for {
		frame, err := c.next()
		if err != nil {
			return
		}
		r, err := decodeFrame(frame)
		var bad *CallError
		switch {
		case errors.As(err, &bad):
			c.send(errorFrame(r.id, bad))
		case err != nil:
			c.hangUp(websocket.CloseInvalidFramePayloadData, err.Error())
			return
		default:
			c.admit(r)
		}
	}
}

var errHungUp = errors.New("the message was refused")

// next reads one message. A message that is too long or not text ends the connection. The limit is the current one when the
// message arrives.
func (c *session) next() ([]byte, error) {
	kind, r, err := c.conn.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.TextMessage {
		c.hangUp(websocket.CloseUnsupportedData, "the message is not text")
		return nil, errHungUp
	}
	limit, code := int64(frameLimitAnonymous), websocket.CloseInvalidFramePayloadData
	if c.authenticated() {
		limit, code = frameLimitAuthenticated, websocket.CloseMessageTooBig
	}
	frame, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(frame)) > limit {
		c.hangUp(code, "Max message length exceeded")
		return nil, errHungUp
	}
	return frame, nil
}

func (c *session) authenticated() bool {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	return c.user != nil
}

// hangUp closes the connection with a code. It waits briefly for the peer to close its side. Closing with unread bytes would make
// the system reset the connection, and the code might never arrive.
func (c *session) hangUp(code int, text string) {
	deadline := time.Now().Add(time.Second)
	if c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, text), deadline) != nil {
		return
	}
	raw := c.conn.NetConn()
	if raw.SetReadDeadline(deadline) == nil {
		_, _ = io.Copy(io.Discard, raw) // ends at the deadline at the latest
	}
}

// cut ends the connection without a close frame, like a broken link.
func (c *session) cut() {
	if c.conn == nil {
		c.abort()
		return
	}
	raw := c.conn.NetConn()
	if t, ok := raw.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	_ = raw.Close() // closing twice is harmless
}

// send queues a message for the peer. It never blocks.
func (c *session) send(frame []byte) {
	if c.out != nil && !c.out.put(frame) {
		c.cut()
	}
}

// writeLimit is the time limit of writing one message to a peer.
const writeLimit = 30 * time.Second

// write sends the queued messages until the connection ends.
func (c *session) write() {
	for {
		frames, more := c.out.take()
		for _, frame := range frames {
			if c.conn.SetWriteDeadline(time.Now().Add(writeLimit)) != nil ||
				c.conn.WriteMessage(websocket.TextMessage, frame) != nil {
				c.cut()
				return
			}
		}
		if !more {
			return
		}
	}
}
