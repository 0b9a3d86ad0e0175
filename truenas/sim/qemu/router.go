package qemu

import (
	"encoding/binary"
	"net/netip"
)

// Header lengths in bytes, and protocol numbers.
const (
	ethernetHeader = 14
	ipHeader       = 20
	udpHeader      = 8

	typeIPv4, typeARP    = 0x0800, 0x0806
	protocolUDP          = 17
	arpRequest, arpReply = 1, 2
	dhcpServer           = 67
	dhcpClient           = 68
)

// route handles a frame for the router: it replies to ARP and DHCP, and passes on datagrams.
func (l *lan) route(from *port, frame []byte) {
	kind, packet := binary.BigEndian.Uint16(frame[12:14]), frame[ethernetHeader:]
	switch kind {
	case typeARP:
		l.arp(from, packet)
	case typeIPv4:
		l.ip(from, [6]byte(frame[6:12]), packet)
	}
}

// arp replies to requests for the router's address, and records the address of the requester.
func (l *lan) arp(from *port, packet []byte) {
	const length = 28
	if len(packet) < length {
		return
	}
	sender, ip, wanted := [6]byte(packet[8:14]), netip.AddrFrom4([4]byte(packet[14:18])), netip.AddrFrom4([4]byte(packet[24:28]))
	if wanted != l.router {
		return
	}
	l.note(ip, sender)
	if binary.BigEndian.Uint16(packet[6:8]) != arpRequest {
		return
	}
	answer := append([]byte{0, 1, 8, 0, 6, 4, 0, arpReply}, l.mac[:]...)
	answer = append(answer, packet[24:28]...)
	answer = append(answer, packet[8:18]...)
	from.give(l.frame(sender, typeARP, answer))
}

// ip handles UDP datagrams for the router.
func (l *lan) ip(from *port, mac [6]byte, packet []byte) {
	if len(packet) < ipHeader || packet[9] != protocolUDP {
		return
	}
	header, total := int(packet[0]&0xf)*4, int(binary.BigEndian.Uint16(packet[2:4]))
	if header < ipHeader || total > len(packet) || total < header+udpHeader {
		return
	}
	source, to := netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20]))
	datagram := packet[header:total]
	port, payload := binary.BigEndian.Uint16(datagram[2:4]), datagram[udpHeader:]
	switch {
	case port == dhcpServer:
		l.dhcp(from, payload)
	case to == l.router && l.datagram != nil:
		l.datagram(Datagram{
			Network: l.name, MAC: macText(mac), Port: port, Payload: payload,
			From: netip.AddrPortFrom(source, binary.BigEndian.Uint16(datagram[0:2])),
		})
	}
}

// frame returns an Ethernet frame from the router.
func (l *lan) frame(to [6]byte, kind uint16, packet []byte) []byte {
	frame := append(append([]byte{}, to[:]...), l.mac[:]...)
	return append(binary.BigEndian.AppendUint16(frame, kind), packet...)
}

// udp returns the packet of a datagram from the router. It omits the checksum, as IPv4 allows.
func (l *lan) udp(to netip.Addr, fromPort, toPort uint16, payload []byte) []byte {
	source, target := l.router.As4(), to.As4()
	packet := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocolUDP, 0, 0}
	packet = append(append(packet, source[:]...), target[:]...)
	binary.BigEndian.PutUint16(packet[2:], uint16(ipHeader+udpHeader+len(payload)))
	binary.BigEndian.PutUint16(packet[10:], checksum(packet))
	packet = binary.BigEndian.AppendUint16(packet, fromPort)
	packet = binary.BigEndian.AppendUint16(packet, toPort)
	packet = binary.BigEndian.AppendUint16(packet, uint16(udpHeader+len(payload)))
	return append(append(packet, 0, 0), payload...)
}

// checksum returns the checksum of an IP header whose checksum field is zero.
func checksum(header []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
