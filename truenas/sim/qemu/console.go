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

// consoleKeeps is the size in bytes of the output that a console keeps.
const consoleKeeps = 4 << 20

// Console is the serial port of a VM. It outlives the VM's boots.
type Console struct {
	mu      sync.Mutex
	text    []byte
	port    io.Writer     // nil: the machine is off
	changed chan struct{} // closed on new output, or when the VM goes off
}

func newConsole() *Console { return &Console{changed: make(chan struct{})} }

// Output returns all output of the guest.
func (c *Console) Output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}

// Mark returns the current end of the output.
func (c *Console) Mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.text)
}

// Since returns the output of the guest after a mark.
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

// consoleFile opens the file for the output of a VM, if the options name a folder. Names of VMs consist of letters, digits and
// underscores.
func (h *Hypervisor) consoleFile(name string) (io.WriteCloser, error) {
	if h.logs == "" {
		return discard{io.Discard}, nil
	}
	return os.OpenFile(filepath.Join(h.logs, name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
}

// discard is a writer without a file.
type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// attach copies the output of a process until its end, also to the file while the disk has space.
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
