package qemu

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// maxFrame is the maximum size of an Ethernet frame in bytes. Guests with segmentation offload send frames beyond the usual 1514.
const maxFrame = 68 << 10

// broadcast is the address of all stations.
var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// lan is an isolated network: a switch for the guests, and a router that assigns addresses and receives datagrams.
type lan struct {
	name     string
	prefix   netip.Prefix
	router   netip.Addr
	mac      [6]byte // the router's
	datagram func(Datagram)

	mu     sync.Mutex // guards everything below
	ports  map[*port]struct{}
	behind map[[6]byte]*port      // ports of stations
	seen   map[netip.Addr][6]byte // stations that the router has talked to
	leases map[[6]byte]netip.Addr // never expire
	next   netip.Addr             // address of the next lease
}

// firstLease is the offset of the first lease from the network's address.
const firstLease = 100

func newLAN(name string, prefix netip.Prefix, datagram func(Datagram)) *lan {
	l := &lan{
		name: name, prefix: prefix.Masked(), router: prefix.Masked().Addr().Next(), mac: [6]byte{0x02, 0, 0, 0, 0, 1}, datagram: datagram,
		ports: map[*port]struct{}{}, behind: map[[6]byte]*port{}, seen: map[netip.Addr][6]byte{}, leases: map[[6]byte]netip.Addr{},
	}
	l.next = firstLeaseOf(l.prefix)
	return l
}

// firstLeaseOf returns the address of a network's first lease.
func firstLeaseOf(prefix netip.Prefix) netip.Addr {
	ip := prefix.Masked().Addr()
	for firstLease > lastByte(ip) {
		ip = ip.Next()
	}
	return ip
}

func lastByte(a netip.Addr) int {
	b := a.As4()
	return int(b[3])
}

// port is the port of a NIC.
type port struct {
	lan  *lan
	mac  string // of the NIC
	conn net.Conn
	out  chan []byte
	done chan struct{}
	once sync.Once
}

// plug connects a NIC. Frames have the format of QEMU's stream socket: each follows its length.
func (l *lan) plug(conn net.Conn, mac string) *port {
	p := &port{lan: l, mac: strings.ToLower(mac), conn: conn, out: make(chan []byte, 256), done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ports[p] = struct{}{}
	return p
}

// unplug removes a NIC and its addresses.
func (p *port) unplug() {
	p.once.Do(func() {
		close(p.done)
		l := p.lan
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.ports, p)
		maps.DeleteFunc(l.behind, func(_ [6]byte, at *port) bool { return at == p })
		maps.DeleteFunc(l.seen, func(_ netip.Addr, mac [6]byte) bool { return macText(mac) == p.mac })
	})
}

// run forwards frames until the connection ends.
func (p *port) run() {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		p.send()
	}()
	in := bufio.NewReaderSize(p.conn, maxFrame)
	for {
		frame, err := readFrame(in)
		if err != nil {
			break
		}
		p.lan.forward(p, frame)
	}
	p.unplug()
	<-sent
}

func readFrame(in io.Reader) ([]byte, error) {
	var length uint32
	if err := binary.Read(in, binary.BigEndian, &length); err != nil {
		return nil, err
	}
	if length > maxFrame {
		return nil, errors.New("a frame that is too long")
	}
	frame := make([]byte, length)
	_, err := io.ReadFull(in, frame)
	return frame, err
}

func (p *port) send() {
	for {
		select {
		case frame := <-p.out:
			if _, err := p.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
				return
			}
		case <-p.done:
			return
		}
	}
}

// give sends a frame. Like a switch, it drops the frame if the guest does not keep up.
func (p *port) give(frame []byte) {
	select {
	case p.out <- frame:
	default:
	}
}

// forward sends a frame to its destination.
func (l *lan) forward(from *port, frame []byte) {
	if len(frame) < ethernetHeader {
		return
	}
	to, source := [6]byte(frame[:6]), [6]byte(frame[6:12])
	l.mu.Lock()
	l.behind[source] = from
	var others []*port
	switch at, known := l.behind[to]; {
	case to == l.mac:
	case known:
		others = append(others, at)
	default:
		for p := range l.ports {
			others = append(others, p)
		}
	}
	l.mu.Unlock()
	for _, p := range others {
		if p != from {
			p.give(frame)
		}
	}
	if to == l.mac || to == broadcast {
		l.route(from, frame)
	}
}

// note records the address of a station that the router has talked to.
func (l *lan) note(ip netip.Addr, mac [6]byte) {
	if !ip.IsValid() || ip.IsUnspecified() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[ip] = mac
}

// neighbours adds the addresses of one NIC.
func (l *lan) neighbours(p *port, into map[netip.Addr]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ip, mac := range l.seen {
		if macText(mac) == p.mac {
			into[ip] = p.mac
		}
	}
}

// lease returns the address of a station, which never changes.
func (l *lan) lease(mac [6]byte) netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ip, ok := l.leases[mac]; ok {
		return ip
	}
	ip := l.next
	l.leases[mac], l.next = ip, ip.Next()
	return ip
}

func macText(mac [6]byte) string { return net.HardwareAddr(mac[:]).String() }
