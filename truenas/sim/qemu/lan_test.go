package qemu

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"
)

// station is a NIC in a network.
type station struct {
	t    *testing.T
	mac  [6]byte
	conn net.Conn
	port *port
}

func newStation(t *testing.T, l *lan, last byte) *station {
	t.Helper()
	ours, theirs := net.Pipe()
	s := &station{t: t, mac: [6]byte{0, 0xa0, 0x98, 0, 0, last}, conn: ours}
	s.port = l.plug(theirs, macText(s.mac))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.port.run()
	}()
	t.Cleanup(func() {
		ours.Close()
		<-ended
		theirs.Close()
	})
	return s
}

func (s *station) send(to [6]byte, kind uint16, packet []byte) {
	s.t.Helper()
	frame := append(append(append([]byte{}, to[:]...), s.mac[:]...), byte(kind>>8), byte(kind))
	frame = append(frame, packet...)
	if _, err := s.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *station) receive() []byte {
	s.t.Helper()
	if err := s.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	frame, err := readFrame(s.conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return frame
}

func testLAN(datagram func(Datagram)) *lan {
	return newLAN("br0", netip.MustParsePrefix("192.0.2.0/24"), datagram)
}

// ask sends an ARP request for an address.
func (s *station) ask(from, wanted string) {
	packet := append([]byte{0, 1, 8, 0, 6, 4, 0, arpRequest}, s.mac[:]...)
	packet = append(append(packet, netip.MustParseAddr(from).AsSlice()...), make([]byte, 6)...)
	s.send(broadcast, typeARP, append(packet, netip.MustParseAddr(wanted).AsSlice()...))
}

func TestRouterARP(t *testing.T) {
	l := testLAN(nil)
	a, b := newStation(t, l, 1), newStation(t, l, 2)
	a.ask("192.0.2.10", "192.0.2.1")
	answer := a.receive()
	if !bytes.Equal(answer[:6], a.mac[:]) || !bytes.Equal(answer[22:28], l.mac[:]) || answer[21] != arpReply {
		t.Errorf("the answer: %x", answer)
	}
	if asked := b.receive(); !bytes.Equal(asked[:6], broadcast[:]) {
		t.Errorf("the other one received %x", asked)
	}
	a.ask("192.0.2.10", "192.0.2.77") // The router does not reply for other hosts.
	b.receive()
	seen := map[netip.Addr]string{}
	if l.neighbours(a.port, seen); len(seen) != 1 || seen[netip.MustParseAddr("192.0.2.10")] != "00:a0:98:00:00:01" {
		t.Errorf("the addresses are %v", seen)
	}
	a.port.unplug()
	clear(seen)
	if l.neighbours(a.port, seen); len(seen) != 0 {
		t.Errorf("after the removal of the NIC the addresses are %v", seen)
	}
}

func TestSwitch(t *testing.T) {
	l := testLAN(nil)
	a, b, c := newStation(t, l, 1), newStation(t, l, 2), newStation(t, l, 3)
	b.ask("192.0.2.11", "192.0.2.99") // Now the switch has the address of b.
	a.receive()
	c.receive()
	a.send(b.mac, 0x1234, []byte("for b"))
	if frame := b.receive(); string(frame[ethernetHeader:]) != "for b" {
		t.Errorf("b hears %q", frame)
	}
	a.send(broadcast, 0x1234, []byte("for all"))
	for _, s := range []*station{b, c} {
		if frame := s.receive(); string(frame[ethernetHeader:]) != "for all" {
			t.Errorf("hears %q", frame)
		}
	}
}

// datagram returns the packet of a UDP datagram.
func (s *station) datagram(l *lan, from, to string, port uint16, payload []byte) {
	packet := l.udp(netip.MustParseAddr(to), 4000, port, payload)
	copy(packet[12:16], netip.MustParseAddr(from).AsSlice())
	s.send(l.mac, typeIPv4, packet)
}

func TestRouterDatagrams(t *testing.T) {
	heard := make(chan Datagram, 1)
	l := testLAN(func(d Datagram) { heard <- d })
	s := newStation(t, l, 1)
	s.send(l.mac, typeIPv4, []byte("nonsense"))
	s.datagram(l, "192.0.2.10", "192.0.2.50", 514, []byte("for another"))
	s.datagram(l, "192.0.2.10", "192.0.2.1", 514, []byte("hello"))
	d := <-heard
	if d.Network != "br0" || d.MAC != "00:a0:98:00:00:01" || d.From != netip.MustParseAddrPort("192.0.2.10:4000") || d.Port != 514 || string(d.Payload) != "hello" {
		t.Errorf("heard %+v", d)
	}
}

// dhcp requests an address, and returns the type of the reply and the address.
func (s *station) dhcp(l *lan, kind byte) (byte, netip.Addr) {
	s.t.Helper()
	request := make([]byte, dhcpFixed)
	request[0], request[1], request[2] = 1, 1, 6
	copy(request[28:], s.mac[:])
	request = binary.BigEndian.AppendUint32(request, dhcpCookie)
	request = append(request, 0, 12, 2, 'v', 'm', optionKind, 1, kind, optionEnd)
	packet := l.udp(netip.MustParseAddr("255.255.255.255"), dhcpClient, dhcpServer, request)
	s.send(broadcast, typeIPv4, packet)
	reply := s.receive()[ethernetHeader:]
	if checksum(reply[:ipHeader]) != 0 {
		s.t.Errorf("the header's checksum is wrong: %x", reply[:ipHeader])
	}
	message := reply[ipHeader+udpHeader:]
	return dhcpKind(message[dhcpFixed+4:]), netip.AddrFrom4([4]byte(message[16:20]))
}

func TestLeases(t *testing.T) {
	l := testLAN(nil)
	a := newStation(t, l, 1)
	for ask, want := range map[byte]byte{kindDiscover: kindOffer, kindRequest: kindAck} {
		if kind, ip := a.dhcp(l, ask); kind != want || ip != netip.MustParseAddr("192.0.2.100") {
			t.Errorf("%d is answered %d, %v", ask, kind, ip)
		}
	}
	b := newStation(t, l, 2)
	if _, ip := b.dhcp(l, kindDiscover); ip != netip.MustParseAddr("192.0.2.101") {
		t.Errorf("the second one gets %v", ip)
	}
}
