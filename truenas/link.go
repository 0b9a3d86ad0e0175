package truenas

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

const (
	writeTimeout = 10 * time.Second
	maxReply     = 64 << 20 // bytes; a thousand VMs take about 4 MiB
	maxGreeting  = 1 << 20  // bytes of a reply before the link is set up
)

// A link is one websocket. One goroutine opens it (login and subscriptions) with [link.exchange];
// then a reader and a writer drive it. The first group of fields never changes after that.
type link struct {
	ws        *websocket.Conn
	keepalive time.Duration
	endpoint  string
	// fingerprint of the peer's certificate; empty without TLS
	fingerprint string
	release     Release
	system      string
	roles       []string
	confirmed   map[string]string // collections subscribed while opening: subscription ids
	early       []message         // notifications that arrived while opening
	opened      int64             // id of the last call made while opening
	latency     atomic.Int64      // nanoseconds of the last round trip

	// The fields below belong to the session's state and its lock.
	asked     map[string]bool // collections that this link was asked to subscribe
	out       []*request      // to be written, in order
	slotTimer *time.Timer     // set while abandoned calls hold all slots

	wake   chan struct{} // signals that out has calls
	closed chan struct{}
	once   sync.Once
	err    error // the reason; set before closed is closed
}

func newLink(ws *websocket.Conn, keepalive time.Duration) *link {
	l := &link{
		ws: ws, keepalive: keepalive,
		confirmed: map[string]string{}, asked: map[string]bool{},
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	ws.SetReadLimit(maxGreeting)
	ws.SetPongHandler(func(payload string) error {
		if len(payload) == 8 {
			sent := time.Unix(0, int64(binary.BigEndian.Uint64([]byte(payload))))
			l.latency.Store(int64(time.Since(sent)))
		}
		return l.alive()
	})
	return l
}

// fail marks the link as failed and keeps the first reason. The goroutine that drives the link closes the socket, because the
// caller may hold a lock.
func (l *link) fail(reason error) {
	l.once.Do(func() {
		l.err = reason
		close(l.closed)
	})
}

func (l *link) failed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// alive extends the read deadline by two intervals: a missing pong reveals a half-open link.
func (l *link) alive() error {
	return l.ws.SetReadDeadline(time.Now().Add(2 * l.keepalive))
}

func (l *link) write(frame []byte) error {
	if err := l.ws.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	return l.ws.WriteMessage(websocket.TextMessage, frame)
}

func (l *link) ping() error {
	var now [8]byte
	binary.BigEndian.PutUint64(now[:], uint64(time.Now().UnixNano()))
	return l.ws.WriteControl(websocket.PingMessage, now[:], time.Now().Add(writeTimeout))
}

// read passes every message on until the link fails.
func (l *link) read(handle func(message)) {
	if err := l.alive(); err != nil {
		l.fail(err)
		return
	}
	for {
		_, data, err := l.ws.ReadMessage()
		if isTimeout(err) {
			err = fmt.Errorf("no data received for %v", 2*l.keepalive)
		}
		if err != nil {
			l.fail(err)
			return
		}
		m, err := decodeMessage(data)
		if err != nil {
			l.fail(err)
			return
		}
		_ = l.alive() // a connection without deadlines fails in the next read
		handle(m)
	}
}

// pump writes the calls that next returns and sends pings in between, until the link fails.
func (l *link) pump(next func() *request) {
	pings := time.NewTicker(l.keepalive)
	defer pings.Stop()
	for {
		for r := next(); r != nil; r = next() {
			if err := l.write(r.frame); err != nil {
				l.fail(err)
				return
			}
		}
		select {
		case <-l.wake:
		case <-pings.C:
			if err := l.ping(); err != nil {
				l.fail(err)
				return
			}
		case <-l.closed:
			return
		}
	}
}

// certificate returns the certificate of the peer, or nil without TLS.
func (l *link) certificate() *x509.Certificate {
	conn, ok := l.ws.NetConn().(*tls.Conn)
	if !ok || len(conn.ConnectionState().PeerCertificates) == 0 {
		return nil
	}
	return conn.ConnectionState().PeerCertificates[0]
}

// cut closes the connection and discards unsent data. Otherwise the kernel would keep sending it, and the NAS would carry out
// calls whose callers have given up.
func (l *link) cut() {
	conn := l.ws.NetConn()
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // The close matters more.
	}
	_ = conn.Close()
}
