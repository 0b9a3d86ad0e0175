package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"virtrigaud-provider-truenas/truenas/sim"
)

// ask sends one request to the control API.
func ask(t *testing.T, url, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestControlInjectsFaults(t *testing.T) {
	nas, err := sim.New(sim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer nas.Close()
	server := httptest.NewServer(control(nas))
	defer server.Close()
	for _, tt := range []struct {
		name, method, path, body string
		code                     int
		says                     string
	}{
		{"a fault", "POST", "/faults", `{"method": "vm.create", "nth": 2, "then": "drop-reply"}`, 204, ""},
		{"a refusal with its text", "POST", "/faults", `{"then": "refuse", "errno": 28, "reason": "[ENOSPC] full"}`, 204, ""},
		{"a delay", "POST", "/faults", `{"then": "delay", "delay": "2s"}`, 204, ""},
		{"an unknown action", "POST", "/faults", `{"then": "explode"}`, 400, `"explode" is unknown; allowed: answer-late`},
		{"an unknown field", "POST", "/faults", `{"then": "delay", "dealy": "2s"}`, 400, "dealy"},
		{"a number for a delay", "POST", "/faults", `{"then": "delay", "delay": "2"}`, 400, "want a duration"},
		{"a negative count", "POST", "/faults", `{"then": "delay", "nth": -1}`, 400, "nth: -1"},
		{"no faults any more", "DELETE", "/faults", "", 204, ""},
		{"the calls so far", "GET", "/calls", "", 200, "[]"},
		{"a path that does not exist", "GET", "/nothing", "", 404, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, text := ask(t, server.URL, tt.method, tt.path, tt.body); code != tt.code || !strings.Contains(text, tt.says) {
				t.Errorf("%d %s; want %d %s", code, text, tt.code, tt.says)
			}
		})
	}
}

// The control API acts on the NAS that the program serves.
func TestControlOfTheProgram(t *testing.T) {
	out, stop := start(t, "--control", "127.0.0.1:0")
	defer func() { _ = stop() }()
	url := value(t, out, "control")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: pinned(value(t, out, "fingerprint")), DisableKeepAlives: true}}
	versions := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, value(t, out, "url")+"/api/versions", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := versions(); err != nil {
		t.Fatal(err)
	}
	if code, text := ask(t, url, "POST", "/offline", ""); code != 204 {
		t.Fatal(code, text)
	}
	if err := versions(); err == nil {
		t.Error("the NAS is reachable although it is offline")
	}
	if code, text := ask(t, url, "DELETE", "/offline", ""); code != 204 {
		t.Fatal(code, text)
	}
	if err := versions(); err != nil {
		t.Error(err)
	}
}

func TestControlListensOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "192.0.2.1:80", "nowhere"} {
		if _, _, err := serveControl(nil, address); err == nil {
			t.Errorf("%s is accepted", address)
		}
	}
}
