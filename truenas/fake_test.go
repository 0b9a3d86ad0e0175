package truenas

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const testKey = "7-MARKEDsecretMARKEDsecretMARKEDsecretMARKEDsecretMARKEDsecretXYZ"

// A fakeNAS serves JSON-RPC on a plain loopback websocket. It logs in and subscribes every client, and passes all other frames to
// the script.
type fakeNAS struct {
	t   *testing.T
	url string

	mu        sync.Mutex
	versions  []string
	login     func() any       // nil: SUCCESS
	subscribe func(string) any // nil: an id; a wireFailure is an error
	script    func(*peer, frame)
	upload    http.HandlerFunc
	peers     []*peer
	logins    atomic.Int64
	frames    []frame // those of the script

	arrived chan frame // each frame of the script
	opened  chan *peer // each connection after its login
	pings   atomic.Int64
}

type peer struct {
	nas *fakeNAS
	ws  *websocket.Conn
	mu  sync.Mutex
}

type frame struct {
	peer   *peer
	ID     int64             `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

type wireFailure map[string]any

func newFakeNAS(t *testing.T) *fakeNAS {
	t.Helper()
	n := &fakeNAS{t: t, versions: []string{"v25.04.2", "v25.10.0"}, arrived: make(chan frame, 1000), opened: make(chan *peer, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/versions", func(w http.ResponseWriter, _ *http.Request) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.versions == nil {
			http.NotFound(w, nil)
			return
		}
		_ = json.NewEncoder(w).Encode(n.versions)
	})
	mux.HandleFunc("/api/", n.serve)
	mux.HandleFunc("/_upload", func(w http.ResponseWriter, r *http.Request) { n.upload(w, r) })
	server := httptest.NewServer(mux)
	n.url = server.URL
	t.Cleanup(func() {
		n.cutAll()
		server.Close()
	})
	return n
}

// client returns a client that connects at its first call. change may change its configuration.
func (n *fakeNAS) client(change ...func(*Config)) *Client {
	n.t.Helper()
	cfg := Config{URL: n.url, Username: "svc", APIKey: testKey}
	for _, fn := range change {
		fn(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (n *fakeNAS) serve(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	p := &peer{nas: n, ws: ws}
	n.mu.Lock()
	n.peers = append(n.peers, p)
	n.mu.Unlock()
	defer ws.Close()
	answer := ws.PingHandler()
	ws.SetPingHandler(func(payload string) error {
		n.pings.Add(1)
		return answer(payload)
	})
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		f := frame{peer: p}
		if err := json.Unmarshal(data, &f); err != nil {
			n.t.Errorf("the client sent %s: %v", data, err)
			return
		}
		if !p.opening(f) {
			n.mu.Lock()
			n.frames = append(n.frames, f)
			script := n.script
			n.mu.Unlock()
			n.arrived <- f
			if script != nil {
				script(p, f)
			}
		}
	}
}

// opening replies to the calls that a client makes while it connects.
func (p *peer) opening(f frame) bool {
	n := p.nas
	n.mu.Lock()
	defer n.mu.Unlock()
	switch f.Method {
	case loginMethod:
		n.logins.Add(1)
		var reply any = map[string]any{"response_type": "SUCCESS", "user_info": map[string]any{"privilege": map[string]any{"roles": []string{"FULL_ADMIN"}}}}
		if n.login != nil {
			reply = n.login()
		}
		p.answer(f, reply)
	case "core.subscribe":
		var name string
		_ = json.Unmarshal(f.Params[0], &name)
		var reply any = "sub-" + name
		if n.subscribe != nil {
			reply = n.subscribe(name)
		}
		p.answer(f, reply)
	case "system.version":
		p.answer(f, "TrueNAS-25.10.1")
		n.opened <- p
	default:
		return false
	}
	return true
}

func (p *peer) send(v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.ws.WriteJSON(v) // The test may have cut the connection.
}

// answer sends a result, or an error for a wireFailure.
func (p *peer) answer(f frame, result any) {
	if failure, ok := result.(wireFailure); ok {
		p.send(map[string]any{"jsonrpc": "2.0", "id": f.ID, "error": failure})
		return
	}
	p.send(map[string]any{"jsonrpc": "2.0", "id": f.ID, "result": result})
}

func (p *peer) event(collection, msg string, id, fields any) {
	p.send(map[string]any{"jsonrpc": "2.0", "method": "collection_update", "params": map[string]any{
		"msg": msg, "collection": collection, "id": id, "fields": fields,
	}})
}

func (p *peer) cut() { _ = p.ws.NetConn().Close() }

func (n *fakeNAS) cutAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.peers {
		p.cut()
	}
}

// methods lists the methods of the script's frames so far.
func (n *fakeNAS) methods() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, f := range n.frames {
		out = append(out, f.Method)
	}
	return out
}

func (n *fakeNAS) next() frame {
	n.t.Helper()
	select {
	case f := <-n.arrived:
		return f
	case <-time.After(10 * time.Second):
		n.t.Fatal("no frame")
		return frame{}
	}
}

func (n *fakeNAS) nextPeer() *peer {
	n.t.Helper()
	select {
	case p := <-n.opened:
		return p
	case <-time.After(10 * time.Second):
		n.t.Fatal("no connection")
		return nil
	}
}

// within limits the time of a test's calls.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until a condition holds that another goroutine will meet.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// waiting returns the numbers of calls in flight and in the queue.
func (c *Client) waiting() (inFlight, queued int) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return len(c.s.st.pending), len(c.s.st.queue)
}
