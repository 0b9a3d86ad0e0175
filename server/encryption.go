package server

import (
	"context"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// fieldEncryption is the field that asks for disks that are encrypted at rest.
const fieldEncryption = "class_json.SecurityProfile.EncryptionEnabled"

// checkEncryption refuses a class that asks for encryption when a disk of the VM would not be encrypted. TrueNAS encrypts what
// lies below an encrypted dataset, with a key that it keeps and not this provider; a clone has the encryption of its origin.
func (p *plan) checkEncryption(want spec.VM, seen *observation, l spec.Layout) error {
	if !p.class.Encrypted {
		return nil
	}
	if place := p.place(want, seen, l); !place.Encrypted {
		return refusal.FailedPrecondition("%s: dataset %s is not encrypted: create an encrypted dataset on the NAS and set the provider's dataset to one below it, or name a pool whose %s is encrypted", fieldEncryption, place.ID, l.Root(want.Pool))
	}
	sources := []string{want.Image.Volume}
	for _, d := range p.disks {
		sources = append(sources, d.volume)
	}
	for _, volume := range sources {
		if d, ok := seen.datasets[volume]; ok && !d.Encrypted {
			return unencrypted(volume)
		}
	}
	return nil
}

func unencrypted(volume string) error {
	return refusal.FailedPrecondition("%s: %s is not encrypted, and a disk that is made from it cannot be: prepare or import it below an encrypted dataset", fieldEncryption, volume)
}

// place is the nearest dataset at or above the VM's own that exists. What is made below it inherits its encryption.
func (p *plan) place(want spec.VM, seen *observation, l spec.Layout) truenas.Dataset {
	root := l.Root(want.Pool)
	for _, id := range []string{p.dataset, root, spec.PoolOf(root)} {
		if d, ok := seen.datasets[id]; ok {
			return d
		}
	}
	return truenas.Dataset{ID: root}
}

// checkEncrypted refuses encryption for a VM that has a volume which is not encrypted. It asks the NAS.
func (s *Server) checkEncrypted(ctx context.Context, c spec.Class, volumes []string) error {
	if !c.Encrypted || len(volumes) == 0 {
		return nil
	}
	list, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "in", volumes))
	if err != nil {
		return err
	}
	for _, d := range list {
		if !d.Encrypted {
			return unencrypted(d.ID)
		}
	}
	return nil
}
