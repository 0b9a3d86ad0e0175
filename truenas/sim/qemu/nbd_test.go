package qemu

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
)

// nbdClient speaks the protocol as QEMU does.
type nbdClient struct {
	t    *testing.T
	conn net.Conn
}

// served returns a client that is connected to a storage.
func served(t *testing.T, s *memory, readOnly bool) *nbdClient {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		defer theirs.Close()
		if readOnly {
			ended <- serveNBD(theirs, finished{s})
			return
		}
		ended <- serveNBD(theirs, s)
	}()
	t.Cleanup(func() {
		ours.Close()
		if err := <-ended; err != nil && err != io.ErrClosedPipe {
			t.Errorf("the server: %v", err)
		}
	})
	return &nbdClient{t, ours}
}

// finished is a read-only storage.
type finished struct{ *memory }

func (finished) ReadOnly() bool { return true }

func (c *nbdClient) send(values ...any) {
	c.t.Helper()
	var b bytes.Buffer
	for _, v := range values {
		if err := binary.Write(&b, binary.BigEndian, v); err != nil {
			c.t.Fatal(err)
		}
	}
	if _, err := c.conn.Write(b.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *nbdClient) receive(into ...any) {
	c.t.Helper()
	for _, v := range into {
		if err := binary.Read(c.conn, binary.BigEndian, v); err != nil {
			c.t.Fatal(err)
		}
	}
}

// agree completes the handshake, and returns the size and the flags.
func (c *nbdClient) agree() (size uint64, flags uint16) {
	c.t.Helper()
	var magic, optMagic, replied uint64
	var hello, kind uint16
	var option, reply, length uint32
	c.receive(&magic, &optMagic, &hello)
	if magic != nbdMagic || optMagic != optionMagic || hello != fixedNewstyle|noZeroes {
		c.t.Fatalf("the server begins with %#x %#x %#x", magic, optMagic, hello)
	}
	c.send(uint32(fixedNewstyle | noZeroes))
	c.send(uint64(optionMagic), uint32(8), uint32(0)) // structured replies
	c.receive(&replied, &option, &reply, &length)
	if reply != repUnsupported {
		c.t.Fatalf("the reply to an unknown option is %#x", reply)
	}
	c.send(uint64(optionMagic), uint32(optGo), uint32(6), uint32(0), uint16(0))
	c.receive(&replied, &option, &reply, &length, &kind, &size, &flags)
	if replied != repliedMagic || option != optGo || reply != repInfo || length != 12 {
		c.t.Fatalf("the reply to go is %#x %d %d %d", replied, option, reply, length)
	}
	c.receive(&replied, &option, &reply, &length)
	if reply != repAck || length != 0 {
		c.t.Fatalf("go ends with %d %d", reply, length)
	}
	return size, flags
}

// do sends a request and returns the error. into receives the data of a read.
func (c *nbdClient) do(kind uint16, off uint64, length int, data, into []byte) uint32 {
	c.t.Helper()
	c.send(uint32(requestMagic), uint16(0), kind, uint64(77), off, uint32(length), data)
	var magic, fault uint32
	var cookie uint64
	c.receive(&magic, &fault, &cookie)
	if magic != simpleMagic || cookie != 77 {
		c.t.Fatalf("a reply begins with %#x, for the request %d", magic, cookie)
	}
	if fault == 0 {
		c.receive(into)
	}
	return fault
}

func TestNBD(t *testing.T) {
	s := &memory{data: make([]byte, 4096)}
	copy(s.data, "boot me")
	c := served(t, s, false)
	if size, flags := c.agree(); size != 4096 || flags != hasFlags|sendFlush|sendTrim|sendZeroes {
		t.Errorf("%d bytes, flags %#x", size, flags)
	}
	p := make([]byte, 7)
	if fault := c.do(cmdRead, 0, 7, nil, p); fault != 0 || string(p) != "boot me" {
		t.Errorf("read: %d %q", fault, p)
	}
	if fault := c.do(cmdWrite, 4091, 5, []byte("to it"), nil); fault != 0 || string(s.data[4091:]) != "to it" {
		t.Errorf("write: %d %q", fault, s.data[4091:])
	}
	if fault := c.do(cmdFlush, 0, 0, nil, nil); fault != 0 {
		t.Errorf("flush: %d", fault)
	}
	for _, kind := range []uint16{cmdTrim, cmdZeroes} {
		copy(s.data, "boot me")
		if fault := c.do(kind, 2, 3, nil, nil); fault != 0 || string(s.data[:7]) != "bo\x00\x00\x00me" {
			t.Errorf("zeros by %d: %d %q", kind, fault, s.data[:7])
		}
	}
	for _, kind := range []uint16{cmdRead, cmdZeroes} {
		if fault := c.do(kind, 4090, 7, nil, nil); fault != nbdIO {
			t.Errorf("beyond the end by %d: %d", kind, fault)
		}
	}
	if fault := c.do(99, 0, 0, nil, nil); fault != nbdInvalid {
		t.Errorf("an unknown command: %d", fault)
	}
	c.send(uint32(requestMagic), uint16(0), uint16(cmdDisconnect), uint64(1), uint64(0), uint32(0))
	if _, err := c.conn.Read(p); err == nil {
		t.Error("data after the disconnect")
	}
}

func TestNBDReadOnly(t *testing.T) {
	c := served(t, &memory{data: []byte("seed")}, true)
	if _, flags := c.agree(); flags&readOnlyFlag == 0 || flags&sendTrim != 0 {
		t.Errorf("flags %#x", flags)
	}
	if fault := c.do(cmdWrite, 0, 2, []byte("no"), nil); fault != nbdNotPermitted {
		t.Errorf("write: %d", fault)
	}
}
