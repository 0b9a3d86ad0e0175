package qemu

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"virtrigaud-provider-truenas/truenas/sim"
)

// Constants of the NBD protocol, with the names of its specification
// (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md).
const (
	nbdMagic     = 0x4e42444d41474943
	optionMagic  = 0x49484156454f5054
	repliedMagic = 0x3e889045565a9
	requestMagic = 0x25609513
	simpleMagic  = 0x67446698

	fixedNewstyle, noZeroes = 1, 2

	optExportName, optAbort, optInfo, optGo        = 1, 2, 6, 7
	repAck, repInfo, repUnsupported                = 1, 3, 1<<31 + 1
	hasFlags, readOnlyFlag                         = 1, 2
	sendFlush, sendTrim, sendZeroes                = 4, 32, 64
	cmdRead, cmdWrite, cmdDisconnect               = 0, 1, 2
	cmdFlush, cmdTrim, cmdZeroes                   = 3, 4, 6
	nbdIO, nbdInvalid, nbdNotPermitted      uint32 = 5, 22, 1
)

// Maximum sizes of a request's data and of an option.
const (
	maxTransfer = 32 << 20
	maxOption   = 4096
)

// serveNBD serves one storage under any export name, until the client disconnects.
func serveNBD(conn io.ReadWriter, s sim.Storage) error {
	c := &nbd{in: bufio.NewReaderSize(conn, 64<<10), out: bufio.NewWriterSize(conn, 64<<10), storage: s}
	err := c.handshake()
	for err == nil {
		err = c.request()
	}
	if errors.Is(err, errDisconnected) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

var errDisconnected = errors.New("the client said good-bye")

// nbd is one connection.
type nbd struct {
	in      *bufio.Reader
	out     *bufio.Writer
	storage sim.Storage
	buffer  []byte
}

// read and write transfer numbers in network byte order. The next flush reports a failed write.
func (c *nbd) read(into ...any) error {
	for _, v := range into {
		if err := binary.Read(c.in, binary.BigEndian, v); err != nil {
			return err
		}
	}
	return nil
}

func (c *nbd) write(values ...any) {
	for _, v := range values {
		_ = binary.Write(c.out, binary.BigEndian, v)
	}
}

// flags returns the capabilities of the storage.
func (c *nbd) flags() uint16 {
	if c.storage.ReadOnly() {
		return hasFlags | readOnlyFlag | sendFlush
	}
	return hasFlags | sendFlush | sendTrim | sendZeroes
}

// handshake negotiates the export.
func (c *nbd) handshake() error {
	c.write(uint64(nbdMagic), uint64(optionMagic), uint16(fixedNewstyle|noZeroes))
	if err := c.out.Flush(); err != nil {
		return err
	}
	var client uint32
	if err := c.read(&client); err != nil {
		return err
	}
	for {
		done, err := c.option(client&noZeroes != 0)
		if err != nil || done {
			return err
		}
	}
}

// option handles one option, and reports whether the handshake has ended.
func (c *nbd) option(noZeroes bool) (bool, error) {
	var magic uint64
	var option, length uint32
	if err := c.read(&magic, &option, &length); err != nil {
		return false, err
	}
	if magic != optionMagic || length > maxOption {
		return false, fmt.Errorf("nbd: an option begins with %#x and has %d bytes", magic, length)
	}
	if _, err := c.in.Discard(int(length)); err != nil {
		return false, err
	}
	switch option {
	case optExportName:
		c.write(uint64(c.storage.Size()), c.flags())
		if !noZeroes {
			c.write(make([]byte, 124))
		}
		return true, c.out.Flush()
	case optInfo, optGo:
		c.write(uint64(repliedMagic), option, uint32(repInfo), uint32(12), uint16(0), uint64(c.storage.Size()), c.flags())
		c.write(uint64(repliedMagic), option, uint32(repAck), uint32(0))
		return option == optGo, c.out.Flush()
	case optAbort:
		c.write(uint64(repliedMagic), option, uint32(repAck), uint32(0))
		return true, errors.Join(c.out.Flush(), errDisconnected)
	}
	c.write(uint64(repliedMagic), option, uint32(repUnsupported), uint32(0))
	return false, c.out.Flush()
}

// request serves one request.
func (c *nbd) request() error {
	var head struct {
		Magic       uint32
		Flags, Type uint16
		Cookie      uint64
		Offset      uint64
		Length      uint32
	}
	if err := c.read(&head); err != nil {
		return err
	}
	if head.Magic != requestMagic || head.Type == cmdDisconnect {
		return errDisconnected
	}
	if (head.Type == cmdRead || head.Type == cmdWrite) && head.Length > maxTransfer {
		return fmt.Errorf("nbd: a request for %d bytes at once", head.Length)
	}
	data, fault, err := c.serve(head.Type, int64(head.Offset), int(head.Length))
	if err != nil {
		return err
	}
	c.write(uint32(simpleMagic), fault, head.Cookie, data)
	return c.out.Flush()
}

// serve handles a request. err ends the connection; fault is reported to the client.
func (c *nbd) serve(kind uint16, off int64, n int) (data []byte, fault uint32, err error) {
	switch kind {
	case cmdRead:
		if _, err := c.storage.ReadAt(c.scratch(n), off); err != nil {
			return nil, nbdIO, nil
		}
		return c.buffer[:n], 0, nil
	case cmdWrite:
		if _, err := io.ReadFull(c.in, c.scratch(n)); err != nil {
			return nil, 0, err
		}
		return nil, c.put(c.buffer[:n], off), nil
	case cmdFlush: // what was written is in its place
		return nil, 0, nil
	case cmdTrim, cmdZeroes:
		return nil, c.zero(off, n), nil
	}
	return nil, nbdInvalid, nil
}

func (c *nbd) put(p []byte, off int64) uint32 {
	if c.storage.ReadOnly() {
		return nbdNotPermitted
	}
	if _, err := c.storage.WriteAt(p, off); err != nil {
		return nbdIO
	}
	return 0
}

// zero writes zeros, which the simulator stores as holes.
func (c *nbd) zero(off int64, n int) uint32 {
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		step := min(n, len(zeros))
		if fault := c.put(zeros[:step], off); fault != 0 {
			return fault
		}
		off, n = off+int64(step), n-step
	}
	return 0
}

// scratch returns a buffer of n bytes, which is valid until the next request.
func (c *nbd) scratch(n int) []byte {
	if cap(c.buffer) < n {
		c.buffer = make([]byte, n)
	}
	c.buffer = c.buffer[:n]
	return c.buffer
}
