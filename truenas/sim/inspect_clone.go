package sim

import (
	"encoding/json"
	"fmt"
)

// CloneVM clones a VM as the web interface does, by vm.clone, which copies the description.
func (s *Sim) CloneVM(name, as string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.state.vmNamed(name)
	if m == nil {
		return fmt.Errorf("there is no machine %q", name)
	}
	var params []json.RawMessage
	for _, param := range []any{m.ID, as} {
		text, err := json.Marshal(param)
		if err != nil {
			return err
		}
		params = append(params, text)
	}
	_, err := vmClone(&call{sim: s, method: "vm.clone", params: params})
	return err
}

// EditDescription changes the description of a VM, as a user does in the web interface.
func (s *Sim) EditDescription(name, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.state.vmNamed(name)
	if m == nil {
		return fmt.Errorf("edit the description of %q: the machine does not exist", name)
	}
	m.Config.Description = text
	s.emitRecord("vm.query", "changed", m.ID, (&call{sim: s}).vmRow(m))
	return nil
}

// RemoveVM deletes a VM that is off, with its volumes, as a user does in the web interface.
func (s *Sim) RemoveVM(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.state.vmNamed(name)
	switch {
	case m == nil:
		return fmt.Errorf("remove machine %q: the machine does not exist", name)
	case m.active():
		return fmt.Errorf("remove machine %q: the machine is %s", name, m.State)
	}
	return (&call{sim: s, method: "vm.delete"}).deleteVM(m, true, false)
}
