package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// crypt is the state of an encryption root.
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

// crypt returns the state of a dataset's encryption root, or nil if the dataset is not encrypted.
func (s *state) crypt(d *dataset) *crypt {
	if root := s.Datasets[d.EncryptionRoot]; root != nil {
		return root.Crypt
	}
	return nil
}

// locked reports whether a dataset's key is not loaded. Then a file system is not mounted, and a volume has no device.
func (s *state) locked(d *dataset) bool {
	c := s.crypt(d)
	return c != nil && c.Locked
}

// checkEncryption checks the encryption of a new dataset against its parents and their keys.
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

// encryptAs sets the encryption root of a new dataset: itself, or that of its parent.
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

// requestsCrypt reports whether the row shows the encryption, which depends on the requested properties.
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

// Encrypt makes an existing dataset an encryption root, together with the datasets below it, as a user can.
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

// SetLocked unloads the key of an encryption root, or loads it again, as a user can. It fails while a running VM needs the key.
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

// Unlock loads the key of an encryption root, as a user can in the web interface. TrueNAS then starts the VMs with autostart that
// have a disk below it and are off. A VM that cannot start, such as one with another locked disk, stays off. All releases do so,
// whether or not the VM ran before.
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
