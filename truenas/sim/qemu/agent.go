package qemu

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"virtrigaud-provider-truenas/truenas/sim"
)

// agentPatience is the time limit of one request to an agent.
const agentPatience = 5 * time.Second

var errNoAgent = errors.New("QEMU guest agent is not connected")

// agent is the channel to the QEMU agent inside a guest.
type agent struct {
	mu   sync.Mutex // one request at a time
	conn net.Conn
	in   *bufio.Reader
	last int

	state sync.Mutex
	open  bool // the guest has opened the channel
}

func newAgent(conn net.Conn) *agent { return &agent{conn: conn, in: bufio.NewReader(conn)} }

// note handles the event that reports whether the guest has opened the channel.
func (a *agent) note(event string, data json.RawMessage) {
	var change struct{ Open bool }
	if event == "VSERPORT_CHANGE" && json.Unmarshal(data, &change) == nil {
		a.state.Lock()
		defer a.state.Unlock()
		a.open = change.Open
	}
}

func (a *agent) listens() bool {
	a.state.Lock()
	defer a.state.Unlock()
	return a.open
}

// ask runs a command of the agent.
func (a *agent) ask(ctx context.Context, command string, arguments, into any) error {
	if !a.listens() {
		return errNoAgent
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	deadline := time.Now().Add(agentPatience)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := a.conn.SetDeadline(deadline); err != nil {
		return errNoAgent
	}
	if err := a.sync(); err != nil {
		return fmt.Errorf("QEMU guest agent does not answer: %w", err)
	}
	return a.exchange(command, arguments, into)
}

// sync discards replies to abandoned requests.
func (a *agent) sync() error {
	a.last++
	if _, err := a.conn.Write([]byte{0xff}); err != nil { // resets the agent's parser
		return err
	}
	if err := a.write("guest-sync-delimited", map[string]int{"id": a.last}); err != nil {
		return err
	}
	for {
		if _, err := a.in.ReadBytes(0xff); err != nil {
			return err
		}
		var reply struct{ Return int }
		line, err := a.in.ReadBytes('\n')
		if err != nil {
			return err
		}
		if json.Unmarshal(line, &reply) == nil && reply.Return == a.last {
			return nil
		}
	}
}

func (a *agent) write(command string, arguments any) error {
	text, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if err != nil {
		return err
	}
	_, err = a.conn.Write(append(text, '\n'))
	return err
}

func (a *agent) exchange(command string, arguments, into any) error {
	if err := a.write(command, arguments); err != nil {
		return err
	}
	line, err := a.in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var reply struct {
		Return json.RawMessage
		Error  *struct{ Desc string }
	}
	switch err := json.Unmarshal(line, &reply); {
	case err != nil:
		return err
	case reply.Error != nil:
		return fmt.Errorf("%s: %s", command, reply.Error.Desc)
	}
	return json.Unmarshal(reply.Return, into)
}

// shutDown requests a shutdown, to which agents do not reply.
func (a *agent) shutDown() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.conn.SetDeadline(time.Now().Add(agentPatience)); err != nil || a.sync() != nil {
		return
	}
	_ = a.write("guest-shutdown", map[string]string{"mode": "powerdown"}) // the guest's state shows the result
}

// interfaces returns the agent's list of interfaces in TrueNAS's form.
func (a *agent) interfaces(ctx context.Context) ([]sim.GuestInterface, error) {
	var seen []struct {
		Name     string
		Hardware string `json:"hardware-address"`
		IPs      []struct {
			Address string `json:"ip-address"`
			Prefix  int    `json:"prefix"`
			Type    string `json:"ip-address-type"`
		} `json:"ip-addresses"`
	}
	if err := a.ask(ctx, "guest-network-get-interfaces", map[string]string{}, &seen); err != nil {
		return nil, err
	}
	list := make([]sim.GuestInterface, 0, len(seen))
	for _, i := range seen {
		nic := sim.GuestInterface{Name: i.Name, Hardware: i.Hardware, Addresses: []sim.GuestAddress{}}
		for _, ip := range i.IPs {
			nic.Addresses = append(nic.Addresses, sim.GuestAddress{Address: ip.Address, Prefix: ip.Prefix, Type: strings.ToUpper(ip.Type)})
		}
		list = append(list, nic)
	}
	return list, nil
}

// Exec runs a program inside a guest with its agent, and returns the output.
func (h *Hypervisor) Exec(ctx context.Context, uuid string, program string, args ...string) (string, error) {
	h.mu.Lock()
	d := h.domains[uuid]
	h.mu.Unlock()
	if d == nil {
		return "", fmt.Errorf("no machine with the UUID %s runs", uuid)
	}
	var started struct{ PID int }
	if args == nil {
		args = []string{}
	}
	if err := d.agent.ask(ctx, "guest-exec", map[string]any{"path": program, "arg": args, "capture-output": true}, &started); err != nil {
		return "", err
	}
	for {
		var status struct {
			Exited   bool
			ExitCode int
			Out      string `json:"out-data"`
		}
		if err := d.agent.ask(ctx, "guest-exec-status", map[string]int{"pid": started.PID}, &status); err != nil {
			return "", err
		}
		if status.Exited {
			out, err := base64.StdEncoding.DecodeString(status.Out)
			if err == nil && status.ExitCode != 0 {
				err = fmt.Errorf("%s in the guest ended with %d", program, status.ExitCode)
			}
			return string(out), err
		}
		select {
		case <-time.After(50 * time.Millisecond): // the agent does not report the end of a program
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
