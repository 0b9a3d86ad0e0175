package qemu

import (
	"encoding/binary"
	"net"
)

// DHCP (RFC 2131): offsets in a message, option numbers and message types.
const (
	dhcpFixed  = 236 // bytes before the cookie
	dhcpCookie = 0x63825363

	optionMask, optionRouter          = 1, 3
	optionLease, optionKind, optionID = 51, 53, 54
	optionEnd                         = 255

	kindDiscover, kindOffer, kindRequest, kindAck = 1, 2, 3, 5
)

// leaseSeconds is one day.
const leaseSeconds = 24 * 60 * 60

// dhcp assigns a guest its address.
func (l *lan) dhcp(from *port, request []byte) {
	if len(request) < dhcpFixed+4 || binary.BigEndian.Uint32(request[dhcpFixed:]) != dhcpCookie {
		return
	}
	kind := map[byte]byte{kindDiscover: kindOffer, kindRequest: kindAck}[dhcpKind(request[dhcpFixed+4:])]
	if kind == 0 {
		return
	}
	mac := [6]byte(request[28:34])
	ip := l.lease(mac)
	address := ip.As4()
	answer := make([]byte, dhcpFixed)
	copy(answer, request[:34]) // the transaction and the hardware address with its length
	answer[0] = 2              // a reply
	copy(answer[16:20], address[:])
	answer = binary.BigEndian.AppendUint32(answer, dhcpCookie)
	answer = append(answer, optionKind, 1, kind)
	router := l.router.As4()
	for _, option := range []byte{optionID, optionRouter} {
		answer = append(append(answer, option, 4), router[:]...)
	}
	answer = append(append(answer, optionMask, 4), net.CIDRMask(l.prefix.Bits(), 32)...)
	answer = binary.BigEndian.AppendUint32(append(answer, optionLease, 4), leaseSeconds)
	answer = append(answer, optionEnd)
	from.give(l.frame(mac, typeIPv4, l.udp(ip, dhcpServer, dhcpClient, answer)))
}

// dhcpKind returns the type of a message, from its options.
func dhcpKind(options []byte) byte {
	for len(options) >= 3 && options[0] != optionEnd {
		if options[0] == 0 { // padding
			options = options[1:]
			continue
		}
		length := int(options[1])
		if options[0] == optionKind && length == 1 {
			return options[2]
		}
		if len(options) < 2+length {
			return 0
		}
		options = options[2+length:]
	}
	return 0
}
