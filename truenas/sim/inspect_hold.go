package sim

import "fmt"

// HoldSnapshot holds a snapshot "dataset@name" by hand, or releases it.
func (s *Sim) HoldSnapshot(id string, held bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.state.Snapshots[id]
	if n == nil {
		return fmt.Errorf("there is no snapshot %s", id)
	}
	n.Held = held
	s.state.release(n)
	return nil
}

// CloneSnapshot makes a clone of a snapshot "dataset@name" by hand.
func (s *Sim) CloneSnapshot(id, as string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.state.Snapshots[id]
	if n == nil || s.state.Datasets[as] != nil || s.state.Datasets[parentOf(as)] == nil {
		return fmt.Errorf("snapshot %s cannot be cloned as %s", id, as)
	}
	s.state.clone(n, as, s.clock.Now())
	return nil
}
