package qemu

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// control is the connection to a process's monitor, in the protocol QMP: commands, replies in the same order, and events between
// them.
type control struct {
	conn  io.ReadWriteCloser
	ready chan struct{} // closed when the process has all its devices and accepts commands
	event func(name string, data json.RawMessage)

	mu sync.Mutex // guards writes
}

// newControl makes a control that does not listen yet.
func newControl(conn io.ReadWriteCloser, event func(string, json.RawMessage)) *control {
	return &control{conn: conn, ready: make(chan struct{}), event: event}
}

// message is a message of the monitor.
type message struct {
	QMP    json.RawMessage `json:"QMP"`    // greeting
	Return json.RawMessage `json:"return"` // reply
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
}

// listen reads until the connection ends, and calls event for each event.
func (c *control) listen() {
	in := json.NewDecoder(c.conn)
	for answers := 0; ; {
		var m message
		if err := in.Decode(&m); err != nil {
			return
		}
		switch {
		case m.QMP != nil:
			c.send("qmp_capabilities")
		case m.Return != nil:
			if answers++; answers == 1 {
				close(c.ready)
			}
		case m.Event != "":
			c.event(m.Event, m.Data)
		}
	}
}

// send sends a command and does not wait for the reply: a process replies late while it waits for its disks, and the caller may
// block these. A lost connection means that the process has ended, which is reported elsewhere.
func (c *control) send(command string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.conn, "{\"execute\":%q}\n", command)
}
