package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// crypt is what an encryption root has.
type crypt struct {
	Passphrase bool `json:",omitempty"` // otherwise a key in hexadecimal
	Locked     bool `json:",omitempty"` // its key is not loaded
}

func (c *crypt) format() string {
	if c.Passphrase {
		return "passphrase"
	}
	return "hex"
}

// crypt finds what holds for a dataset; nil: it is not encrypted.
func (s *state) crypt(d *dataset) *crypt {
	if root := s.Datasets[d.EncryptionRoot]; root != nil {
		return root.Crypt
	}
	return nil
}

// locked reports whether a dataset's key is not loaded: a file system is not mounted then, and a volume
// has no device.
func (s *state) locked(d *dataset) bool {
	c := s.crypt(d)
	return c != nil && c.Locked
}

// checkEncryption holds a dataset to be made against its parents and their keys.
func (c *call) checkEncryption(p *datasetParams, parent *dataset, v *invalid) {
	const at = "pool_dataset_create"
	s := &c.sim.state
	if s.locked(parent) {
		v.add(at+".name", eINVAL, "%s must be unlocked to create %s.", parentOf(p.Name), p.Name)
	}
	plain := ""
	for name := parentOf(p.Name); name != ""; name = parentOf(name) {
		switch d := s.Datasets[name]; {
		case d == nil:
		case d.EncryptionRoot == "":
			plain = name
		case plain != "":
			v.add(at+".name", eINVAL, "Creating an encrypted dataset within an unencrypted dataset is not allowed. In this case, '%s' must be moved to an unencrypted dataset.", plain)
			return
		case !p.Encryption && !p.InheritEncryption:
			v.add(at+".encryption", eINVAL, "Cannot create an unencrypted dataset within an encrypted dataset (%s).", name)
			return
		}
	}
	if p.Encryption {
		s.checkKey(p, parent, v)
	}
}

func (s *state) checkKey(p *datasetParams, parent *dataset, v *invalid) {
	const at = "pool_dataset_create"
	o := p.EncryptionOptions
	if p.InheritEncryption {
		v.add(at+".inherit_encryption", eINVAL, "Must be disabled when encryption is enabled.")
	}
	if above := s.crypt(parent); o.Passphrase == nil && above != nil && above.Passphrase {
		v.add(at+".encryption", eINVAL, "Passphrase encrypted datasets cannot have children encrypted with a key.")
	}
	if o.Passphrase == nil && o.Key == nil && !o.GenerateKey {
		v.add(at+".encryption_options.key", eINVAL, "Please specify passphrase or key")
	}
}

// encryptAs gives a new dataset its key: its own, or that of its parent.
func (s *state) encryptAs(d *dataset, p *datasetParams) {
	switch parent := s.Datasets[parentOf(d.Name)]; {
	case p.Encryption:
		d.EncryptionRoot, d.Crypt = d.Name, &crypt{Passphrase: p.EncryptionOptions.Passphrase != nil}
	case parent != nil:
		d.EncryptionRoot = parent.EncryptionRoot
	}
}

// cryptRow shows the encryption of a dataset.
func (s *state) cryptRow(d *dataset, row map[string]any) {
	c := s.crypt(d)
	if c == nil {
		row["encrypted"], row["encryption_root"], row["key_loaded"], row["locked"] = false, nil, false, false
		return
	}
	row["encrypted"], row["encryption_root"], row["key_loaded"], row["locked"] = true, d.EncryptionRoot, !c.Locked, c.Locked
}

// cryptProperties shows how a dataset is encrypted.
func (s *state) cryptProperties(d *dataset, v datasetView, row map[string]any) {
	format, algorithm, iterations, source := "none", "off", "0", "DEFAULT"
	if c := s.crypt(d); c != nil {
		format, algorithm, source = c.format(), "aes-256-gcm", "NONE"
		if c.Passphrase {
			iterations = "350000"
		}
	}
	show := func(name, zfs, raw string) {
		if !v.wants(name) && !v.wants(zfs) {
			return
		}
		p := shown(raw, raw, strings.ToUpper(raw), source, nil)
		if source == "DEFAULT" {
			p.Value = nil
		}
		row[name] = p
	}
	show("key_format", "keyformat", format)
	show("encryption_algorithm", "encryption", algorithm)
	if v.wants("pbkdf2iters") {
		row["pbkdf2iters"] = shown(iterations, iterations, iterations, source, nil)
	}
}

// requestsCrypt reports whether the encryption is shown: it is when one of its properties is requested.
func (v datasetView) requestsCrypt() bool {
	if v.only == nil || v.release == v25_04_2 {
		return true
	}
	for _, name := range []string{"encryption", "encryptionroot", "keyformat", "keylocation", "keystatus"} {
		if v.only[name] {
			return true
		}
	}
	return false
}

// Encrypt makes an existing dataset an encryption root, with the datasets below it, as a user does.
func (s *Sim) Encrypt(name string, passphrase bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.state.Datasets[name]
	if d == nil {
		return fmt.Errorf("encrypt %s: the dataset does not exist", name)
	}
	d.Crypt = &crypt{Passphrase: passphrase}
	for _, x := range s.state.below(d) {
		x.EncryptionRoot = name
	}
	return nil
}

// SetLocked unloads the key of an encryption root, or loads it again, by hand. A key that a running
// machine needs stays.
func (s *Sim) SetLocked(name string, locked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.state.Datasets[name]
	if d == nil || d.Crypt == nil {
		return fmt.Errorf("lock %s: the dataset is not an encryption root", name)
	}
	for _, x := range s.state.below(d) {
		if locked && s.state.open(x) {
			return fmt.Errorf("lock %s: %s is open", name, x.Name)
		}
	}
	d.Crypt.Locked = locked
	return nil
}

// Unlock loads the key of an encryption root as a user does in the web interface. TrueNAS then starts the machines with autostart
// that have a disk below it and are off; one that cannot start, such as one whose other disk is still locked, stays off. All
// releases do that, and none of them looks whether the machine ran when the key was unloaded.
func (s *Sim) Unlock(name string) error {
	if err := s.SetLocked(name, false); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.state.VMs)) {
		m := s.state.VMs[id]
		below := slices.ContainsFunc(s.state.devicesOf(id), func(d *device) bool {
			inFile := d.DType == "RAW" && strings.HasPrefix(d.Path, "/mnt/"+name+"/")
			return inFile || d.DType == "DISK" && strings.HasPrefix(volumeAt(d.Path), name+"/")
		})
		if m.Config.Autostart && below {
			_ = s.start(m, false) // TrueNAS logs the failure.
		}
	}
	return nil
}
