package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/truenas/sim"
)

// actions are the names of faults in the control API.
var actions = map[string]sim.Action{
	"delay":        sim.Delay,
	"refuse":       sim.Refuse,
	"drop-reply":   sim.DropReply,
	"cut-before":   sim.CutBefore,
	"cut-after":    sim.CutAfter,
	"answer-twice": sim.AnswerTwice,
	"answer-late":  sim.AnswerLate,
	"fail-job":     sim.FailJob,
	"long-job":     sim.LongJob,
	"restart":      sim.Restart,
}

// faultRequest is the body of POST /faults.
type faultRequest struct {
	Method string `json:"method"` // empty: any method
	Nth    int    `json:"nth"`    // number of the call from now on, from 1
	Then   string `json:"then"`   // a name of [actions]
	Delay  string `json:"delay"`  // a duration such as "2s"
	Errno  int    `json:"errno"`  // of refuse and fail-job
	Reason string `json:"reason"` // of refuse and fail-job, such as "[ENOSPC] out of space"
}

// fault checks the request.
func (r faultRequest) fault() (sim.Fault, error) {
	then, ok := actions[r.Then]
	if !ok {
		return sim.Fault{}, fmt.Errorf("then: %q is unknown; allowed: %s", r.Then, strings.Join(actionNames(), ", "))
	}
	if r.Nth < 0 {
		return sim.Fault{}, fmt.Errorf("nth: %d is negative; want 1 or more", r.Nth)
	}
	f := sim.Fault{Method: r.Method, Nth: r.Nth, Then: then}
	if r.Delay != "" {
		d, err := time.ParseDuration(r.Delay)
		if err != nil || d < 0 {
			return sim.Fault{}, fmt.Errorf("delay: %q: want a duration such as 2s", r.Delay)
		}
		f.Delay = d
	}
	if r.Reason != "" || r.Errno != 0 {
		f.Err = &sim.CallError{Errno: r.Errno, Reason: r.Reason}
	}
	return f, nil
}

func actionNames() []string {
	names := make([]string, 0, len(actions))
	for name := range actions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// control is an http.Handler that lets tests in any language inject faults into the NAS and list its calls.
//
//	POST   /faults    inject a fault at a call in the future
//	DELETE /faults    remove the pending faults
//	POST   /restart   restart the middleware: connections break, jobs are forgotten
//	POST   /cut       cut all connections
//	POST   /offline   take the NAS off the network; DELETE brings it back
//	GET    /calls     the methods called since the start or the last DELETE /calls
func control(nas *sim.Sim) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var body faultRequest
		decoder := json.NewDecoder(io.LimitReader(r.Body, 64<<10))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&body)
		var f sim.Fault
		if err == nil {
			f, err = body.fault()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		nas.Inject(f)
		w.WriteHeader(http.StatusNoContent)
	})
	do := func(pattern string, act func()) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			act()
			w.WriteHeader(http.StatusNoContent)
		})
	}
	do("DELETE /faults", nas.ClearFaults)
	do("POST /restart", nas.RestartMiddleware)
	do("POST /cut", nas.CutConnections)
	do("POST /offline", func() { nas.SetOffline(true) })
	do("DELETE /offline", func() { nas.SetOffline(false) })
	do("DELETE /calls", nas.ResetCalls)
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		calls := nas.Calls()
		if calls == nil {
			calls = []string{}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(calls) // It fails only if the client is gone.
	})
	return mux
}

// serveControl serves the control API on a loopback address until stop is called, and returns its URL.
func serveControl(nas *sim.Sim, address string) (url string, stop func(), err error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, program.Usage(fmt.Errorf("--control %s: %w", address, err))
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", nil, program.Usage(errors.New("--control " + address + ": want a loopback address, because the control API has no login"))
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", nil, fmt.Errorf("--control: %w", err)
	}
	server := &http.Server{Handler: control(nas), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}
