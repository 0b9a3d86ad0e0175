package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// guestAgent is the guest's end of the channel. It replies to commands by name, and records the ones it read.
type guestAgent struct {
	t       *testing.T
	conn    net.Conn
	stale   string
	answers map[string]string
	asked   chan string
}

func newGuestAgent(t *testing.T, answers map[string]string) (*agent, *guestAgent) {
	t.Helper()
	ours, theirs := net.Pipe()
	g := &guestAgent{t: t, conn: theirs, answers: answers, asked: make(chan string, 10)}
	ended := make(chan struct{})
	a := newAgent(ours)
	a.note("VSERPORT_CHANGE", json.RawMessage(`{"open":true,"id":"agent"}`))
	go func() {
		defer close(ended)
		g.run()
	}()
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
		<-ended
	})
	return a, g
}

func (g *guestAgent) run() {
	in := bufio.NewReader(g.conn)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var command struct {
			Execute   string
			Arguments struct{ ID int }
		}
		if err := json.Unmarshal(bytes.TrimPrefix(line, []byte{0xff}), &command); err != nil {
			g.t.Errorf("the agent received %q", line)
			return
		}
		answer := g.answers[command.Execute] + "\n"
		if command.Execute == "guest-sync-delimited" {
			answer = fmt.Sprintf("%s\xff{\"return\":%d}\n", g.stale, command.Arguments.ID)
		} else {
			g.asked <- command.Execute
		}
		if answer == "\n" {
			continue
		}
		if _, err := g.conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}

func TestAgentReportsInterfaces(t *testing.T) {
	a, g := newGuestAgent(t, map[string]string{"guest-network-get-interfaces": `{"return":[{"name":"eth0","hardware-address":"00:a0:98:00:00:01","ip-addresses":[{"ip-address":"192.0.2.10","ip-address-type":"ipv4","prefix":24}]},{"name":"eth1"}]}`})
	g.stale = "{\"return\":\"an old answer\"}\n\xff{\"return\":999}\n"
	list, err := a.interfaces(t.Context())
	if err != nil || len(list) != 2 || list[0].Hardware != "00:a0:98:00:00:01" || len(list[0].Addresses) != 1 || list[1].Addresses == nil {
		t.Fatalf("%+v %v", list, err)
	}
	if got := list[0].Addresses[0]; got.Address != "192.0.2.10" || got.Prefix != 24 || got.Type != "IPV4" {
		t.Errorf("the address: %+v", got)
	}
}

func TestAgentRefuses(t *testing.T) {
	a, _ := newGuestAgent(t, map[string]string{"guest-network-get-interfaces": `{"error":{"class":"CommandNotFound","desc":"not allowed here"}}`})
	if _, err := a.interfaces(t.Context()); err == nil || !strings.Contains(err.Error(), "not allowed here") {
		t.Errorf("got %v", err)
	}
}

func TestSilentAgent(t *testing.T) {
	a, _ := newGuestAgent(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := a.interfaces(ctx); err == nil {
		t.Error("it answers")
	}
	a.note("VSERPORT_CHANGE", json.RawMessage(`{"open":false,"id":"agent"}`))
	if _, err := a.interfaces(t.Context()); err != errNoAgent {
		t.Errorf("after the agent has ended: %v", err)
	}
}

func TestAgentShutsDown(t *testing.T) {
	a, g := newGuestAgent(t, nil)
	a.shutDown()
	if got := <-g.asked; got != "guest-shutdown" {
		t.Errorf("it hears %s", got)
	}
}
