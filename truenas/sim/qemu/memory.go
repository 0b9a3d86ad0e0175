package qemu

import (
	"fmt"
	"sync"
)

// memory is a storage in memory: the variables of a firmware.
type memory struct {
	mu   sync.Mutex
	data []byte
}

func (m *memory) Size() int64    { return int64(len(m.data)) }
func (m *memory) ReadOnly() bool { return false }

func (m *memory) ReadAt(p []byte, off int64) (int, error)  { return m.move(p, off, false) }
func (m *memory) WriteAt(p []byte, off int64) (int, error) { return m.move(p, off, true) }

func (m *memory) move(p []byte, off int64, write bool) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off < 0 || off+int64(len(p)) > int64(len(m.data)) {
		return 0, fmt.Errorf("%d bytes at %d are not within %d", len(p), off, len(m.data))
	}
	if write {
		return copy(m.data[off:], p), nil
	}
	return copy(p, m.data[off:]), nil
}
