package main

import (
	"fmt"

	"virtrigaud-provider-truenas/truenas/sim"
)

// encrypt makes encrypted datasets with a passphrase, unless they exist, and locks them if locked is set.
func encrypt(nas *sim.Sim, names []string, locked bool) error {
	have := map[string]bool{}
	for _, d := range nas.State().Datasets {
		have[d.Name] = true
	}
	for _, name := range names {
		if !have[name] {
			if err := nas.AddDataset(name, nil); err != nil {
				return fmt.Errorf("--encrypted: %w", err)
			}
		}
		if err := nas.Encrypt(name, true); err != nil {
			return fmt.Errorf("--encrypted: %w", err)
		}
		if err := nas.SetLocked(name, locked); err != nil {
			return fmt.Errorf("--locked: %w", err)
		}
	}
	return nil
}
