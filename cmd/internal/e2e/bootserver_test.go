//go:build e2e

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// bootScript is the name of the file that a VM requests from the TFTP server.
const bootScript = "boot.ipxe"

// bootServer serves the installation over the network: iPXE's script by TFTP, and by HTTP the kernel, the initrd and the image
// for the disk.
type bootServer struct {
	tftp net.PacketConn
	web  *httptest.Server

	mu     sync.Mutex
	marker string         // text that the script writes to the disk
	served map[string]int // HTTP requests by file
	asked  int            // TFTP requests, including repeated ones
}

// newBootServer listens on the loopback interface, which VMs reach at the address of their router.
func newBootServer(t *testing.T) *bootServer {
	t.Helper()
	b := &bootServer{served: map[string]int{}}
	files := http.FileServer(http.Dir(*guestDir))
	b.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.served[r.URL.Path]++
		b.mu.Unlock()
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(b.web.Close)
	var err error
	if b.tftp, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.serveTFTP()
	}()
	t.Cleanup(func() {
		_ = b.tftp.Close()
		<-ended
	})
	return b
}

// at returns the address of one of the two servers for VMs.
func at(router string, a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return net.JoinHostPort(router, port)
}

// bootFile returns the URL of the script.
func (b *bootServer) bootFile(router string) string {
	return "tftp://" + at(router, b.tftp.LocalAddr()) + "/" + bootScript
}

// installs sets the marker of the next installation.
func (b *bootServer) installs(marker string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.marker = marker
}

// fetched returns how often each file was fetched by HTTP, and how often the script was requested by TFTP.
func (b *bootServer) fetched() (served map[string]int, asked int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.served), b.asked
}

// script returns the script for iPXE.
func (b *bootServer) script() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	return fmt.Sprintf(`#!ipxe
set web http://%s
kernel ${web}/vmlinuz initrd=initrd console=ttyS0 quiet mitigations=off no_timer_check panic=-1 install=${web}/guest.img marker=%s
initrd ${web}/initrd
boot
`, at("${gateway}", b.web.Listener.Addr()), b.marker)
}

// TFTP (RFC 1350): the types of packets, and the block size. A shorter block is the last one.
const (
	tftpRead, tftpData, tftpError = 1, 3, 5
	tftpBlock                     = 512
)

// serveTFTP replies to each read request with the only block of the script, until the connection is closed. The VM repeats a
// request whose reply is lost.
func (b *bootServer) serveTFTP() {
	packet := make([]byte, 2048)
	for {
		n, from, err := b.tftp.ReadFrom(packet)
		if err != nil {
			return
		}
		if n < 2 || binary.BigEndian.Uint16(packet) != tftpRead {
			continue // an acknowledgement
		}
		answer := []byte{0, tftpError, 0, 1, 0} // no such file
		if name, _, _ := bytes.Cut(packet[2:n], []byte{0}); strings.TrimPrefix(string(name), "/") == bootScript {
			if text := b.script(); len(text) < tftpBlock {
				answer = append([]byte{0, tftpData, 0, 1}, text...)
			}
		}
		_, _ = b.tftp.WriteTo(answer, from)
	}
}
