package sim

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// wire is a simulator behind a socket, over plain HTTP.
type wire struct {
	*Sim
	t    testing.TB
	addr string
}

// testMethods adds methods to every release, for calls that behave as a test requires.
func testMethods(t testing.TB, s *Sim, methods map[string]method) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, m := range methods {
		s.methods[name] = m
	}
}

func newWire(t testing.TB, cfg Config) *wire {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.Server{Listener: l, Config: &http.Server{Handler: s}}
	srv.Start()
	t.Cleanup(func() {
		s.Close()
		srv.Close()
	})
	return &wire{s, t, l.Addr().String()}
}

// peerConn is a client's end of a connection without a protocol.
type peerConn struct {
	t    testing.TB
	conn *websocket.Conn
	id   int
	kept []message // read, but not delivered yet
}

// message is a message from the NAS.
type message struct {
	ID     any             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *wireError      `json:"error"`
	Method string          `json:"method"`
	Params struct {
		Msg        string          `json:"msg"`
		Collection string          `json:"collection"`
		ID         any             `json:"id"`
		Fields     json.RawMessage `json:"fields"`
		Extra      json.RawMessage `json:"extra"`
	} `json:"params"`
}

type wireError struct {
	Code    int
	Message string
	Data    struct {
		Error  int
		Reason string
		Extra  [][]any
		Trace  *struct{ Class string }
	}
}

func (n *wire) dial(path string) *peerConn {
	n.t.Helper()
	return dial(n.t, "ws://"+n.addr+path, nil)
}

func dial(t testing.TB, url string, config *tls.Config) *peerConn {
	t.Helper()
	d := websocket.Dialer{TLSClientConfig: config, HandshakeTimeout: 10 * time.Second}
	conn, _, err := d.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &peerConn{t: t, conn: conn}
}

// login dials and logs in as the default user.
func (n *wire) login() *peerConn {
	n.t.Helper()
	p := n.dial("/api/current")
	p.must("auth.login_ex", plainLogin(DefaultUser, DefaultAPIKey))
	return p
}

func plainLogin(user, key string) map[string]any {
	return map[string]any{"mechanism": "API_KEY_PLAIN", "username": user, "api_key": key}
}

// send sends a request and returns its id.
func (p *peerConn) send(method string, params ...any) int {
	p.t.Helper()
	p.id++
	if params == nil {
		params = []any{}
	}
	p.write(map[string]any{"jsonrpc": "2.0", "id": p.id, "method": method, "params": params})
	return p.id
}

func (p *peerConn) write(v any) {
	p.t.Helper()
	if err := p.conn.WriteJSON(v); err != nil {
		p.t.Fatal(err)
	}
}

// read returns the next message, or an error at the end of the connection.
func (p *peerConn) read() (message, error) {
	var m message
	if err := p.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return m, err
	}
	return m, p.conn.ReadJSON(&m)
}

// next returns the first message that passes, and keeps the others for later.
func (p *peerConn) next(pass func(message) bool) message {
	p.t.Helper()
	for i, m := range p.kept {
		if pass(m) {
			p.kept = append(p.kept[:i], p.kept[i+1:]...)
			return m
		}
	}
	for {
		m, err := p.read()
		if err != nil {
			p.t.Fatalf("no such message: %v", err)
		}
		if pass(m) {
			return m
		}
		p.kept = append(p.kept, m)
	}
}

func (p *peerConn) reply(id int) message {
	p.t.Helper()
	return p.next(func(m message) bool { return m.ID == float64(id) })
}

func (p *peerConn) event(collection string) message {
	p.t.Helper()
	return p.next(func(m message) bool {
		return m.Method == "collection_update" && m.Params.Collection == collection
	})
}

// call makes a call and waits for its reply.
func (p *peerConn) call(method string, params ...any) message {
	p.t.Helper()
	return p.reply(p.send(method, params...))
}

// must makes a call and requires a result.
func (p *peerConn) must(method string, params ...any) string {
	p.t.Helper()
	m := p.call(method, params...)
	if m.Error != nil {
		p.t.Fatalf("%s: %+v", method, *m.Error)
	}
	return string(m.Result)
}

// fails makes a call and requires an error.
func (p *peerConn) fails(method string, params ...any) wireError {
	p.t.Helper()
	m := p.call(method, params...)
	if m.Error == nil {
		p.t.Fatalf("%s: got the result %s, want an error", method, m.Result)
	}
	return *m.Error
}

// closed waits for the end of the connection, and returns its close code, or -1 without one.
func (p *peerConn) closed() int {
	p.t.Helper()
	for {
		m, err := p.read()
		var end *websocket.CloseError
		switch {
		case errors.As(err, &end) && end.Code != websocket.CloseAbnormalClosure:
			return end.Code
		case err != nil:
			var slow net.Error
			if errors.As(err, &slow) && slow.Timeout() {
				p.t.Fatal("the connection is still open")
			}
			return -1
		}
		p.kept = append(p.kept, m)
	}
}

// job waits for a job to end and returns its row.
func (p *peerConn) job(id string) map[string]any {
	p.t.Helper()
	for {
		var rows []map[string]any
		raw := p.must("core.get_jobs", []any{[]any{"id", "=", json.Number(id)}})
		if err := json.Unmarshal([]byte(raw), &rows); err != nil || len(rows) != 1 {
			p.t.Fatalf("job %s is not among %s", id, raw)
		}
		if state := rows[0]["state"]; state != jobWaiting && state != jobRunning {
			return rows[0]
		}
		p.must("core.ping")
	}
}

// jsonOf encodes a value.
func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (n *wire) get(path string) (int, string) {
	n.t.Helper()
	return n.do(must(http.NewRequest(http.MethodGet, "http://"+n.addr+path, nil)))
}

func (n *wire) do(r *http.Request) (int, string) {
	n.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		return res.StatusCode, err.Error()
	}
	return res.StatusCode, strings.TrimSpace(b.String())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("a test's own mistake: %v", err))
	}
	return v
}

// secure serves the simulator over TLS.
func secure(t testing.TB, s *Sim) (*Server, *tls.Config) {
	t.Helper()
	v, err := Serve(s, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(v.CA) {
		t.Fatal("the certificate is not valid PEM")
	}
	return v, &tls.Config{RootCAs: pool}
}
