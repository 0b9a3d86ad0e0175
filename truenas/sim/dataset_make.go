package sim

import (
	"fmt"
	"strings"
)

// alreadyThere is the error for a name that exists. Its errno depends on the release, its text does not.
func alreadyThere(r release, format string, a ...any) error {
	if r >= v26 {
		return fail(eEXIST, format, a...)
	}
	return fail(eFAULT, format, a...)
}

// create makes ZFS's part of pool.dataset.create, including ancestors.
func (s *state) create(p *datasetParams, r release, c *call) (*dataset, error) {
	if s.Datasets[p.Name] != nil && r >= v26 {
		return nil, fail(eFAULT, "Failed to create dataset %s: cannot create '%s': dataset already exists", p.Name, p.Name)
	}
	if s.Datasets[p.Name] != nil {
		return nil, fail(eFAULT, "Failed to create dataset: cannot create '%s': dataset already exists", p.Name)
	}
	if key, bad := badUserKey(p.UserProperties); bad {
		return nil, fail(eFAULT, "Failed to create dataset: cannot create '%s': invalid property '%s'", p.Name, key)
	}
	d := &dataset{Name: p.Name, Volume: p.isVolume, Created: c.now()}
	if d.Volume {
		d.Size, d.BlockSize = *p.Volsize, volblocksize(p.Volblocksize)
		if d.Size <= 0 {
			return nil, fail(eFAULT, "Failed to create dataset: cannot create '%s': volume size cannot be zero", p.Name)
		}
		if !p.Sparse {
			d.RefReservation = thick(d.Size, d.BlockSize)
			if r >= v26 {
				d.RefReservation = d.Size // The request sets exactly that reservation.
			}
		}
	} else {
		setNative(d, "xattr", "on")
	}
	if err := s.fits(d, p); err != nil {
		return nil, err
	}
	s.ancestors(p.Name, c)
	d.Txg = s.txg()
	s.add(d)
	s.encryptAs(d, p)
	s.set(d, p)
	if !c.sim.cfg.DropsUserProperties {
		for _, u := range p.UserProperties {
			setUser(d, u.Key, u.Value)
		}
	}
	return d, nil
}

// badUserKey returns a key that ZFS refuses, because it is not in lower case.
func badUserKey(list []userProperty) (string, bool) {
	for _, u := range list {
		if u.Key != strings.ToLower(u.Key) || len(u.Key) > 255 {
			return u.Key, true
		}
	}
	return "", false
}

// thick returns ZFS's reservation for a thick volume: its size and two copies of its indirect blocks.
func thick(size, block int64) int64 {
	const pointers, indirect = 1024, 128 << 10
	count, n := int64(7), size/block
	for n > 1 {
		n = (n + pointers - 1) / pointers
		count += n
	}
	return size + count*2*indirect
}

// fits refuses a thick volume that is larger than the available space.
func (s *state) fits(d *dataset, p *datasetParams) error {
	parent := s.Datasets[parentOf(d.Name)]
	for name := parentOf(d.Name); parent == nil; name = parentOf(name) {
		parent = s.Datasets[name]
	}
	need := d.RefReservation
	for _, n := range []*int64{p.Refreservation, p.Reservation} {
		if n != nil {
			need = max(need, *n)
		}
	}
	if need > s.available(parent) {
		return fail(eFAULT, "Failed to create dataset: cannot create '%s': out of space", d.Name)
	}
	return nil
}

// ancestors makes the missing file systems above a name.
func (s *state) ancestors(name string, c *call) {
	parent := parentOf(name)
	if s.Datasets[parent] != nil {
		return
	}
	s.ancestors(parent, c)
	d := &dataset{Name: parent, Txg: s.txg(), Created: c.now()}
	setNative(d, "xattr", "on")
	s.add(d)
	s.encryptAs(d, &datasetParams{})
}

// set applies native properties. INHERIT removes one.
func (s *state) set(d *dataset, p *datasetParams) {
	for zfs, value := range map[string]*string{
		"org.freenas:description": p.Comments, "sync": p.Sync, "snapdev": p.Snapdev, "compression": p.Compression,
		"exec": p.Exec, "org.truenas:managedby": p.Managedby, "snapdir": p.Snapdir, "dedup": p.Deduplication,
		"checksum": p.Checksum, "readonly": p.Readonly, "aclmode": p.Aclmode, "acltype": p.Acltype,
		"atime": p.Atime, "casesensitivity": p.Casesensitivity, "recordsize": p.Recordsize,
	} {
		if value != nil {
			setNative(d, zfs, *value)
		}
	}
	for zfs, value := range map[string]any{
		"org.freenas:quota_warning": p.QuotaWarning, "org.freenas:quota_critical": p.QuotaCritical,
		"org.freenas:refquota_warning": p.RefquotaWarning, "org.freenas:refquota_critical": p.RefquotaCritical,
		"special_small_blocks": p.SpecialSmallBlock, "copies": p.Copies,
	} {
		if value != (unset{}) {
			setNative(d, zfs, fmt.Sprint(value))
		}
	}
	for _, n := range []struct{ to, from *int64 }{
		{&d.Quota, p.Quota}, {&d.RefQuota, p.Refquota}, {&d.Reservation, p.Reservation}, {&d.RefReservation, p.Refreservation},
	} {
		if n.from != nil {
			*n.to = *n.from
		}
	}
	s.touch(d)
}

func setNative(d *dataset, zfs, value string) {
	if value == "INHERIT" {
		delete(d.Properties, zfs)
		return
	}
	if !strings.Contains(zfs, ":") && zfs != "recordsize" {
		value = strings.ToLower(value)
	}
	if d.Properties == nil {
		d.Properties = map[string]string{}
	}
	d.Properties[zfs] = value
}

func setUser(d *dataset, key, value string) {
	if d.User == nil {
		d.User = map[string]string{}
	}
	d.User[key] = value
}
