package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// call calls the API of the NAS directly, without the provider, for what a user sees and does in the UI. One login serves many
// calls, because a NAS permits 20 logins a minute.
func (n *nas) call(ctx context.Context, into any, method string, params ...any) error {
	n.looking.Lock()
	defer n.looking.Unlock()
	if n.api == nil {
		conn, err := n.login(ctx)
		if err != nil {
			return err
		}
		n.api = conn
	}
	if params == nil {
		params = []any{}
	}
	err := ask(n.api, into, method, params...)
	if err != nil {
		_ = n.api.Close() // the next call logs in again
		n.api = nil
	}
	return err
}

func (n *nas) login(ctx context.Context) (*websocket.Conn, error) {
	dialer := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, HandshakeTimeout: 10 * time.Second} // it is on this host
	conn, _, err := dialer.DialContext(ctx, "wss://"+n.direct+"/api/current", nil)
	if err != nil {
		return nil, err
	}
	credentials := map[string]any{"mechanism": "API_KEY_PLAIN", "username": n.username, "api_key": n.key}
	if err := ask(conn, nil, "auth.login_ex", credentials); err != nil {
		_ = conn.Close() // not logged in
		return nil, err
	}
	return conn, nil
}

func ask(conn *websocket.Conn, into any, method string, params ...any) error {
	if err := conn.WriteJSON(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params}); err != nil {
		return err
	}
	for {
		var answer struct {
			ID     *int            `json:"id"`
			Result json.RawMessage `json:"result"`
			Error  json.RawMessage `json:"error"`
		}
		if err := conn.ReadJSON(&answer); err != nil {
			return err
		}
		switch {
		case answer.ID == nil:
			continue // it is an event
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", method, answer.Error)
		case into == nil:
			return nil
		}
		return json.Unmarshal(answer.Result, into)
	}
}

// vm is a VM in the NAS's API.
type vm struct {
	ID          int    `json:"id"`
	Name        string `json:"name"`
	UUID        string `json:"uuid"`
	Description string `json:"description"`
	CPUs        int    `json:"vcpus"`
	Cores       int    `json:"cores"`
	Threads     int    `json:"threads"`
	Memory      int    `json:"memory"` // MiB
	Status      struct {
		State string `json:"state"`
	} `json:"status"`
}

func (v vm) count() int { return v.CPUs * v.Cores * v.Threads }

func (n *nas) vms(ctx context.Context) ([]vm, error) {
	var all []vm
	return all, n.call(ctx, &all, "vm.query")
}

// vm returns the only VM whose name starts with prefix. It is an error if there is not exactly one.
func (n *nas) vm(ctx context.Context, prefix string) (vm, error) {
	all, err := n.vms(ctx)
	if err != nil {
		return vm{}, err
	}
	var found []vm
	for _, v := range all {
		if strings.HasPrefix(v.Name, prefix) {
			found = append(found, v)
		}
	}
	if len(found) != 1 {
		return vm{}, fmt.Errorf("the NAS has %d VMs named %s…: %v", len(found), prefix, found)
	}
	return found[0], nil
}

// datasets returns the names of all file systems and volumes.
func (n *nas) datasets(ctx context.Context) ([]string, error) {
	var all []struct {
		ID string `json:"id"`
	}
	if err := n.call(ctx, &all, "pool.dataset.query"); err != nil {
		return nil, err
	}
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = d.ID
	}
	return names, nil
}

// leftovers returns the VMs and the datasets of the provider, except images, which are kept for the next VM.
func (n *nas) leftovers(ctx context.Context) ([]string, error) {
	var left []string
	vms, err := n.vms(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range vms {
		left = append(left, "VM "+v.Name)
	}
	datasets, err := n.datasets(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range datasets {
		below, ok := strings.CutPrefix(d, "tank/virtrigaud/")
		if ok && strings.Contains(below, "/") && !strings.HasPrefix(below, "images/") {
			left = append(left, d)
		}
	}
	return left, nil
}

// file reads a file of the NAS.
func (n *nas) file(ctx context.Context, path string) ([]byte, error) {
	var answer []json.RawMessage
	if err := n.call(ctx, &answer, "core.download", "filesystem.get", []any{path}, "file"); err != nil {
		return nil, err
	}
	var where string
	if len(answer) != 2 || json.Unmarshal(answer[1], &where) != nil {
		return nil, fmt.Errorf("core.download answers %s", answer)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.direct+where, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // it is on this host
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // nothing is left to read
	return io.ReadAll(resp.Body)
}

// devices returns the sorted kinds of a VM's devices.
func (n *nas) devices(ctx context.Context, id int) ([]string, error) {
	var all []struct {
		VM         int `json:"vm"`
		Attributes struct {
			Kind string `json:"dtype"`
		} `json:"attributes"`
	}
	if err := n.call(ctx, &all, "vm.device.query"); err != nil {
		return nil, err
	}
	var kinds []string
	for _, d := range all {
		if d.VM == id {
			kinds = append(kinds, d.Attributes.Kind)
		}
	}
	slices.Sort(kinds)
	return kinds, nil
}
