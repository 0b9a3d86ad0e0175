package qemu

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// consoleKeeps is how much of what a serial port said is kept, in bytes.
const consoleKeeps = 4 << 20

// Console is the serial port of a machine. It outlives the machine's boots.
type Console struct {
	mu      sync.Mutex
	text    []byte
	port    io.Writer     // nil: the machine is off
	changed chan struct{} // closed when there is more, or the machine goes off
}

func newConsole() *Console { return &Console{changed: make(chan struct{})} }

// Output is all that the guest wrote so far.
func (c *Console) Output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

// Mark is where the output ends now.
func (c *Console) Mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.text)
}

// Since is the output of the guest after a mark.
func (c *Console) Since(mark int) string {
	text := c.Output()
	return text[min(mark, len(text)):]
}

// Await waits for a line with the given prefix after a mark, and returns the rest of the line.
func (c *Console) Await(ctx context.Context, mark int, begin string) (string, error) {
	for {
		c.mu.Lock()
		text, changed := c.text[min(mark, len(c.text)):], c.changed
		rest, found := lineAfter(text, begin)
		c.mu.Unlock()
		if found {
			return rest, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("the guest did not say %q: %w; it said\n%s", begin, ctx.Err(), c.Since(mark))
		}
	}
}

func lineAfter(text []byte, begin string) (string, bool) {
	for line := range bytes.Lines(text) {
		if rest, ok := strings.CutPrefix(string(line), begin); ok && strings.HasSuffix(rest, "\n") {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// Say writes a line to the serial port.
func (c *Console) Say(line string) error {
	c.mu.Lock()
	port := c.port
	c.mu.Unlock()
	if port == nil {
		return errPowerIsOff
	}
	_, err := io.WriteString(port, line+"\n")
	return err
}

// consoleFile is where a machine's output is written to besides, if anywhere.
// Names of machines are letters, digits and underscores.
func (h *Hypervisor) consoleFile(name string) (io.WriteCloser, error) {
	if h.logs == "" {
		return discard{io.Discard}, nil
	}
	return os.OpenFile(filepath.Join(h.logs, name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
}

// discard is a file without a reader.
type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// attach lets a process speak until its end. What it says goes to the file too,
// as far as there is room.
func (c *Console) attach(port io.ReadWriter, file io.WriteCloser) {
	defer func() { _ = file.Close() }()
	c.set(port)
	buffer := make([]byte, 4096)
	for {
		n, err := port.Read(buffer)
		_, _ = file.Write(buffer[:n])
		c.add(buffer[:n])
		if err != nil {
			c.set(nil)
			return
		}
	}
}

func (c *Console) set(port io.ReadWriter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.port = port
	if port == nil {
		c.port = nil
	}
}

func (c *Console) add(text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.text)+len(text) <= consoleKeeps {
		c.text = append(c.text, text...)
	}
	close(c.changed)
	c.changed = make(chan struct{})
}
