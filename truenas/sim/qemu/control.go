package qemu

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// control is the connection to a process's monitor, in the protocol QMP:
// commands, their answers in the same order, and events in between.
type control struct {
	conn  io.ReadWriteCloser
	ready chan struct{} // closed when the process has all its devices and listens
	event func(name string, data json.RawMessage)

	mu sync.Mutex // of writing
}

// newControl makes one that does not listen yet.
func newControl(conn io.ReadWriteCloser, event func(string, json.RawMessage)) *control {
	return &control{conn: conn, ready: make(chan struct{}), event: event}
}

// message is whatever the monitor says.
type message struct {
	QMP    json.RawMessage `json:"QMP"`    // its greeting
	Return json.RawMessage `json:"return"` // an answer
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
}

// listen reads until the connection ends, and calls event as events come.
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

// send requests something and does not wait for it: a process that does its
// disks' work answers late, and the caller may block that work. A lost
// connection means that the process has ended, which is reported elsewhere.
func (c *control) send(command string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.conn, "{\"execute\":%q}\n", command)
}
