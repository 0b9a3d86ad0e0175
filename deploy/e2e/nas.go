package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// nas is a simulated TrueNAS in a separate process, with the link to its providers.
type nas struct {
	name, release string
	address       string // for providers
	fingerprint   string
	username, key string
	state         string // file
	direct        string // address without the link
	process       *process
	link          *link
	w             *world

	looking sync.Mutex
	api     *websocket.Conn // nil before the first call
}

// startNAS starts a simulator with a state file, so that it can stop and start again with the same state.
func startNAS(ctx context.Context, w *world, name, release, address string) (*nas, error) {
	n := &nas{w: w, name: name, release: release, address: address, state: filepath.Join(w.dir("nas", name), "state.json")}
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	var err error
	n.link, err = newLink(address+":443", n.direct)
	return n, err
}

// start starts the process and parses its announcement.
func (n *nas) start(ctx context.Context) error {
	dir := filepath.Dir(n.state)
	listen := n.direct
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	out, err := os.Create(filepath.Join(dir, "announced"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // the process has a copy
	// The latency of a NAS in the same building. The manager sometimes loses its own writes if replies come at once.
	cmd := exec.Command(n.w.s.sim, "--listen", listen, "--release", n.release, "--state", n.state, "--latency", "10ms",
		"--certificate", filepath.Join(dir, "certificate.pem"), "--transcript", filepath.Join(n.w.s.logs, n.name+".transcript"))
	cmd.Stdout = out
	if n.process, err = launch(n.name, n.w.s.logs, cmd); err != nil {
		return err
	}
	var announced []byte
	if err := poll(ctx, 30*time.Second, n.name, func() (bool, string) {
		announced, err = os.ReadFile(out.Name())
		return err == nil && regexp.MustCompile(`(?m)^api_key: .+$`).Match(announced), fmt.Sprintf("%s %v", announced, err)
	}); err != nil {
		return err
	}
	value := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `: (?:https://)?(.+)$`).FindSubmatch(announced)
		if m == nil {
			return ""
		}
		return string(m[1])
	}
	n.direct, n.fingerprint, n.username, n.key = value("url"), value("fingerprint"), value("username"), value("api_key")
	return nil
}

// stop ends the process, which saves the state of the NAS.
func (n *nas) stop() {
	n.looking.Lock()
	defer n.looking.Unlock()
	if n.api != nil {
		_ = n.api.Close() // ends with the process
		n.api = nil
	}
	n.process.stop(10 * time.Second)
}

func (n *nas) close() {
	n.link.cut()
	n.stop()
}
