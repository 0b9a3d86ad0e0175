package sim

import (
	"encoding/json"
	"fmt"
)

// CloneVM clones a machine as the web interface does: vm.clone, which copies the description.
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

// EditDescription changes the description of a machine, as a person does.
func (s *Sim) EditDescription(name, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.state.vmNamed(name)
	if m == nil {
		return fmt.Errorf("there is no machine %q", name)
	}
	m.Config.Description = text
	return nil
}
