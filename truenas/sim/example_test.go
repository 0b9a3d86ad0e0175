package sim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"virtrigaud-provider-truenas/truenas/sim"
)

// A session is a small JSON-RPC client, as it could be in any language.
type session struct{ conn *websocket.Conn }

func dial(url string) session {
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/api/current", nil)
	if err != nil {
		log.Fatal(err)
	}
	return session{conn}
}

// call returns the result of a call, or the reason of its error.
func (s session) call(method string, params ...any) string {
	request := map[string]any{"jsonrpc": "2.0", "id": method, "method": method, "params": append([]any{}, params...)}
	if err := s.conn.WriteJSON(request); err != nil {
		return "connection lost"
	}
	var reply struct {
		Result json.RawMessage
		Error  *struct{ Data struct{ Reason string } }
	}
	if err := s.conn.ReadJSON(&reply); err != nil {
		return "connection lost"
	}
	if reply.Error != nil {
		return reply.Error.Data.Reason
	}
	return string(reply.Result)
}

func (s session) login() {
	s.call("auth.login_ex", map[string]any{"mechanism": "API_KEY_PLAIN", "username": sim.DefaultUser, "api_key": sim.DefaultAPIKey})
}

// start serves a simulated NAS over HTTP on loopback.
func start(cfg sim.Config) (*sim.Sim, *httptest.Server) {
	nas, err := sim.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	return nas, httptest.NewServer(nas)
}

func Example() {
	nas, server := start(sim.Config{Release: "25.10"})
	defer nas.Close()
	defer server.Close()
	s := dial(server.URL)
	s.login()
	fmt.Println(s.call("vm.query"))
	// Output: []
}

func ExampleServe() {
	nas, err := sim.New(sim.Config{Release: "26", Pools: []sim.Pool{{Name: "fast", SizeBytes: 1 << 40}}})
	if err != nil {
		log.Fatal(err)
	}
	defer nas.Close()
	server, err := sim.Serve(nas, "127.0.0.1:0") // TLS, with a certificate that Fingerprint pins
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	fmt.Println(strings.HasPrefix(server.URL, "https://127.0.0.1:"), len(server.Fingerprint))
	// Output: true 64
}

func ExampleSim_ServeHTTP() {
	nas, server := start(sim.Config{Release: "25.10"})
	defer nas.Close()
	defer server.Close()
	resp, err := http.Get(server.URL + "/api/versions")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, strings.Contains(string(body), "v25.10.0"), err)
	// Output: 200 true <nil>
}

func ExampleSim_Inject() {
	nas, server := start(sim.Config{Release: "25.10"})
	defer nas.Close()
	defer server.Close()
	s := dial(server.URL)
	s.login()
	nas.Inject(sim.Fault{Method: "vm.query", Then: sim.Refuse, Err: &sim.CallError{Errno: 12, Reason: "[ENOMEM] out of memory"}})
	fmt.Println(s.call("vm.query"))
	fmt.Println(s.call("vm.query"))
	// Output:
	// [ENOMEM] out of memory
	// []
}

func ExampleSim_Calls() {
	nas, server := start(sim.Config{Release: "25.10"})
	defer nas.Close()
	defer server.Close()
	s := dial(server.URL)
	s.login()
	nas.ResetCalls()
	s.call("vm.query")
	s.call("pool.query")
	fmt.Println(nas.Calls())
	// Output: [vm.query pool.query]
}

func ExampleSim_State() {
	nas, err := sim.New(sim.Config{Release: "25.10"})
	if err != nil {
		log.Fatal(err)
	}
	defer nas.Close()
	if err := errors.Join(nas.AddVM("web", 1, 512), nas.StartVM("web")); err != nil {
		log.Fatal(err)
	}
	vm := nas.VMs()[0]
	fmt.Println(vm.Config["name"], vm.State)
	// Output: web RUNNING
}

func ExampleSim_WriteVolume() {
	nas, err := sim.New(sim.Config{Release: "25.10"})
	if err != nil {
		log.Fatal(err)
	}
	defer nas.Close()
	if err := nas.AddVolume("tank/disk", 1<<20, nil); err != nil {
		log.Fatal(err)
	}
	if _, err := nas.WriteVolume("tank/disk", []byte("boot"), 512); err != nil {
		log.Fatal(err)
	}
	p := make([]byte, 4)
	if _, err := nas.ReadVolume("tank/disk", p, 512); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", p)
	// Output: boot
}

func ExampleSim_Save() {
	first, err := sim.New(sim.Config{Release: "25.10"})
	if err != nil {
		log.Fatal(err)
	}
	defer first.Close()
	if err := first.AddDataset("tank/kept", nil); err != nil {
		log.Fatal(err)
	}
	var file strings.Builder
	if err := first.Save(&file); err != nil {
		log.Fatal(err)
	}
	second, err := sim.New(sim.Config{Release: "25.10"})
	if err != nil {
		log.Fatal(err)
	}
	defer second.Close()
	if err := second.Load(strings.NewReader(file.String())); err != nil {
		log.Fatal(err)
	}
	for _, d := range second.State().Datasets {
		fmt.Println(d.Name)
	}
	// Output:
	// tank
	// tank/kept
}

func ExampleStepClock() {
	clock := sim.NewStepClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	nas, err := sim.New(sim.Config{Release: "25.10", Clock: clock})
	if err != nil {
		log.Fatal(err)
	}
	defer nas.Close()
	clock.Step(time.Hour)
	fmt.Println(clock.Now().Format(time.TimeOnly))
	// Output: 01:00:00
}
