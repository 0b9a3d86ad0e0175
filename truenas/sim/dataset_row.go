package sim

import (
	"strconv"
	"strings"
)

// nativeDefaults lists the inheritable ZFS properties in TrueNAS's rows: TrueNAS's name, ZFS's name and the default.
var nativeDefaults = []struct{ name, zfs, value string }{
	{"comments", "org.freenas:description", ""},
	{"quota_warning", "org.freenas:quota_warning", ""},
	{"quota_critical", "org.freenas:quota_critical", ""},
	{"refquota_warning", "org.freenas:refquota_warning", ""},
	{"refquota_critical", "org.freenas:refquota_critical", ""},
	{"managedby", "org.truenas:managedby", ""},
	{"deduplication", "dedup", "off"},
	{"aclmode", "aclmode", "discard"},
	{"acltype", "acltype", "posix"},
	{"xattr", "xattr", "on"},
	{"atime", "atime", "off"},
	{"casesensitivity", "casesensitivity", "sensitive"},
	{"checksum", "checksum", "on"},
	{"exec", "exec", "on"},
	{"sync", "sync", "standard"},
	{"compression", "compression", "lz4"},
	{"copies", "copies", "1"},
	{"snapdir", "snapdir", "hidden"},
	{"snapdev", "snapdev", "hidden"},
	{"readonly", "readonly", "off"},
	{"recordsize", "recordsize", "128K"},
	{"special_small_block_size", "special_small_blocks", "0"},
}

// onlyFilesystems reports whether volumes lack a property.
func onlyFilesystems(name string) bool {
	switch name {
	case "aclmode", "acltype", "xattr", "atime", "casesensitivity", "exec", "snapdir", "recordsize", "quota", "refquota":
		return true
	}
	return false
}

// inherited returns the value of a property and the dataset that sets it, or "" if none does.
func (s *state) inherited(d *dataset, key string) (value, from string, ok bool) {
	for a := d; a != nil; a = s.Datasets[parentOf(a.Name)] {
		if v, ok := a.Properties[key]; ok {
			return v, a.Name, true
		}
	}
	return "", "", false
}

// datasetView is the requested content of a dataset's row.
type datasetView struct {
	children  bool
	user      bool
	snapshots bool
	only      map[string]bool // properties by name; nil: all
	release   release
}

func (v datasetView) wants(name string) bool { return v.only == nil || v.only[name] }

// row returns a dataset in the API's form.
func (s *state) row(d *dataset, v datasetView) map[string]any {
	row := map[string]any{
		"id": d.Name, "name": d.Name, "pool": d.pool(), "type": "FILESYSTEM", "mountpoint": d.mountpoint(), "children": []any{},
	}
	if v.requestsCrypt() {
		s.cryptRow(d, row)
	}
	if d.Volume {
		row["type"], row["mountpoint"] = "VOLUME", nil
	}
	if v.release >= v26 {
		row["tier"] = nil
	}
	if v.user {
		row["user_properties"] = s.userProperties(d, v.release)
	}
	if v.snapshots {
		row["snapshots"], row["_snapshots_properties"] = snapshotsOf(d), []any{}
	}
	if v.children {
		children := []any{}
		for _, child := range d.sorted() {
			if !v.release.hidden(child.Name) {
				children = append(children, s.row(child, v))
			}
		}
		row["children"] = children
	}
	s.nativeProperties(d, v, row)
	s.spaceProperties(d, v, row)
	return row
}

func (s *state) nativeProperties(d *dataset, v datasetView, row map[string]any) {
	for _, n := range nativeDefaults {
		if v.wants(n.name) && !(d.Volume && onlyFilesystems(n.name)) {
			s.nativeProperty(d, v, n.name, n.zfs, n.value, row)
		}
	}
}

// nativeProperty shows one property. Properties that ZFS stores as user properties, such as comments, are missing while unset;
// from 25.10 on they are among the user properties.
func (s *state) nativeProperty(d *dataset, v datasetView, name, zfs, value string, row map[string]any) {
	source, info := "DEFAULT", any(nil)
	switch set, from, ok := s.inherited(d, zfs); {
	case ok:
		value, source = set, "LOCAL"
		if from != d.Name {
			source, info = "INHERITED", from
		}
	case strings.Contains(zfs, ":"):
		return
	case zfs == "casesensitivity":
		source = "NONE"
	}
	switch {
	case strings.Contains(zfs, ":"):
		if v.release == v25_04_2 {
			row[name] = shown(value, value, value, source, info)
		}
	case zfs == "recordsize":
		p := blockProperty(blockBytes(value), source)
		p.SourceInfo = info
		row[name] = p
	case zfs == "special_small_blocks" && d.Volume && v.release == v25_10:
		// Volumes lack it there.
	default:
		row[name] = shown(parsedValue(name, value, v.release), value, strings.ToUpper(value), source, info)
	}
}

// parsedValue returns TrueNAS's parsed form of a ZFS value.
func parsedValue(name, value string, r release) any {
	switch name {
	case "deduplication":
		return value
	case "copies":
		n, _ := strconv.Atoi(value)
		return n
	case "special_small_block_size":
		if n, err := strconv.Atoi(value); err == nil && r >= v26 {
			return n
		}
		return value
	}
	switch value {
	case "on":
		return true
	case "off":
		return false
	}
	return value
}

// inUserProperties adds TrueNAS's own user properties, under the names that TrueNAS shows.
func (s *state) inUserProperties(d *dataset, all map[string]property) {
	for _, n := range nativeDefaults {
		if value, _, ok := s.inherited(d, n.zfs); ok && strings.Contains(n.zfs, ":") {
			all[n.name] = shown(value, value, value, "LOCAL", nil)
		}
	}
}

// snapshotsOf lists a dataset's snapshots in the form of its row.
func snapshotsOf(d *dataset) []any {
	list := []any{}
	for _, n := range d.snaps {
		list = append(list, map[string]any{
			"pool": d.pool(), "name": n.id(), "type": "SNAPSHOT", "snapshot_name": n.Name, "dataset": d.Name, "id": n.id(),
			"createtxg": strconv.FormatInt(n.Txg, 10),
		})
	}
	return list
}

// setLimit reports whether a limit was set explicitly, even to none.
func (d *dataset) setLimit(name string) bool { return d.Properties[name] != "" }

// userProperties returns the properties that are set on a dataset and those that it inherits. From 25.10 on TrueNAS reports all
// of them as LOCAL.
func (s *state) userProperties(d *dataset, r release) map[string]property {
	all := map[string]property{}
	for a := d; a != nil; a = s.Datasets[parentOf(a.Name)] {
		for k, v := range a.User {
			if _, ok := all[k]; ok {
				continue
			}
			if a == d || r >= v25_10 {
				all[k] = shown(v, v, v, "LOCAL", nil)
			} else {
				all[k] = shown(v, v, v, "INHERITED", a.Name)
			}
		}
	}
	if r >= v25_10 {
		s.inUserProperties(d, all)
	}
	return all
}

// spaceProperties shows the usage that ZFS computes, and the limits.
func (s *state) spaceProperties(d *dataset, v datasetView, row map[string]any) {
	u := s.measure(d)
	size := func(name string, n func() int64) {
		if v.wants(name) {
			row[name] = sizeProperty(n(), "NONE", v.release)
		}
	}
	size("used", u.used)
	size("usedbychildren", func() int64 { return u.children })
	size("usedbydataset", func() int64 { return u.live })
	size("usedbyrefreservation", func() int64 { return u.reserved })
	size("usedbysnapshots", func() int64 { return u.snapshots })
	size("available", func() int64 { return s.available(d) })
	limit := func(name string, n int64) {
		if v.wants(name) && !(d.Volume && onlyFilesystems(name)) {
			row[name] = limitProperty(n, d.setLimit(name), v.release)
		}
	}
	limit("reservation", d.Reservation)
	limit("refreservation", d.RefReservation)
	limit("quota", d.Quota)
	limit("refquota", d.RefQuota)
	d.fixedProperties(v, row)
	s.cryptProperties(d, v, row)
}

// fixedProperties shows the properties that the creation of the dataset determines.
func (d *dataset) fixedProperties(v datasetView, row map[string]any) {
	fixed := func(name, raw, value, source string, parsed any) {
		if v.wants(name) {
			row[name] = shown(parsed, raw, value, source, nil)
		}
	}
	fixed("compressratio", "1.00", "1.00x", "NONE", "1.00")
	origin := d.Origin
	if v.release >= v25_10 {
		origin = strings.ToUpper(origin)
	}
	fixed("origin", d.Origin, origin, "NONE", d.Origin)
	if v.wants("creation") {
		made := d.Created.UTC()
		fixed("creation", strconv.FormatInt(made.Unix(), 10), made.Format("Mon Jan _2 15:04 2006"), "NONE", map[string]any{"$date": made.UnixMilli()})
	}
	if d.Volume && v.wants("volsize") {
		row["volsize"] = sizeProperty(d.Size, "LOCAL", v.release)
	}
	if d.Volume && v.wants("volblocksize") {
		source := "NONE"
		if d.BlockSize == blockSize {
			source = "DEFAULT"
		}
		row["volblocksize"] = blockProperty(d.BlockSize, source)
	}
}
