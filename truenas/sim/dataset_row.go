package sim

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// property is how TrueNAS shows a ZFS property.
type property struct {
	Parsed     any     `json:"parsed"`
	RawValue   *string `json:"rawvalue"`
	Value      *string `json:"value"`
	Source     *string `json:"source"`
	SourceInfo any     `json:"source_info"`
}

func shown(parsed any, raw, value, source string, info any) property {
	return property{parsed, &raw, &value, &source, info}
}

// sizeProperty shows a number of bytes. Zero is "none" where ZFS says so.
func sizeProperty(n int64, source string) property {
	return shown(n, strconv.FormatInt(n, 10), humanSize(n), source, nil)
}

// limitProperty shows a number of bytes of which zero means that there is no
// limit: TrueNAS shows that as null.
func limitProperty(n int64) property {
	if n == 0 {
		source, raw := "DEFAULT", "0"
		return property{nil, &raw, nil, &source, nil}
	}
	return sizeProperty(n, "LOCAL")
}

// humanSize is a number of bytes as zfs prints it: "1.5G".
func humanSize(n int64) string {
	const units = "BKMGTPE"
	f, u := float64(n), 0
	for f >= 1024 && u < len(units)-1 {
		f, u = f/1024, u+1
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if f != float64(int64(f)) {
		text = strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", f), "0"), ".")
	}
	return text + units[u:u+1]
}

// nativeDefaults are the inheritable ZFS properties that TrueNAS shows, by its
// name, with ZFS's name and what holds when nobody set them.
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
	{"xattr", "xattr", "sa"},
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

// onlyFilesystems names the properties that a volume does not have.
func onlyFilesystems(name string) bool {
	switch name {
	case "aclmode", "acltype", "xattr", "atime", "casesensitivity", "exec", "snapdir", "recordsize", "quota", "refquota":
		return true
	}
	return false
}

// inherited finds the value of a property, and where it was set: "" is nowhere.
func (s *state) inherited(d *dataset, key string) (value, from string, ok bool) {
	for a := d; a != nil; a = s.Datasets[parentOf(a.Name)] {
		if v, ok := a.Properties[key]; ok {
			return v, a.Name, true
		}
	}
	return "", "", false
}

// datasetView is what of a dataset is asked for.
type datasetView struct {
	children bool
	user     bool
	only     map[string]bool // properties by name; nil is all
	release  release
}

func (v datasetView) wants(name string) bool { return v.only == nil || v.only[name] }

// row is a dataset as the API shows it.
func (s *state) row(d *dataset, v datasetView) map[string]any {
	row := map[string]any{
		"id": d.Name, "name": d.Name, "pool": d.pool(), "type": "FILESYSTEM", "encrypted": false,
		"encryption_root": nil, "key_loaded": false, "locked": false, "mountpoint": d.mountpoint(),
		"children": []any{}, "user_properties": map[string]property{},
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
	if v.children {
		children := []any{}
		for _, child := range d.sorted() {
			children = append(children, s.row(child, v))
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
			s.nativeProperty(d, n.name, n.zfs, n.value, row)
		}
	}
}

// nativeProperty shows one property. Those that are user properties inside,
// such as comments, are left out while nobody set them.
func (s *state) nativeProperty(d *dataset, name, zfs, value string, row map[string]any) {
	source, info := "DEFAULT", any(nil)
	if set, from, ok := s.inherited(d, zfs); ok {
		value, source = set, "LOCAL"
		if from != d.Name {
			source, info = "INHERITED", from
		}
	} else if strings.Contains(zfs, ":") {
		return
	}
	show := value
	if !strings.Contains(zfs, ":") {
		show = strings.ToUpper(value)
	}
	row[name] = shown(parsedValue(value), value, show, source, info)
}

func parsedValue(value string) any {
	switch value {
	case "on":
		return true
	case "off":
		return false
	}
	return value
}

// userProperties are those set on a dataset, and those it inherits. From 25.10 on TrueNAS calls
// all of them LOCAL.
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
	return all
}

// spaceProperties shows what ZFS works out by itself, and the limits.
func (s *state) spaceProperties(d *dataset, v datasetView, row map[string]any) {
	u := s.measure(d)
	size := func(name string, n func() int64) {
		if v.wants(name) {
			row[name] = sizeProperty(n(), "NONE")
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
			row[name] = limitProperty(n)
		}
	}
	limit("reservation", d.Reservation)
	limit("refreservation", d.RefReservation)
	limit("quota", d.Quota)
	limit("refquota", d.RefQuota)
	d.fixedProperties(v, row)
}

// fixedProperties shows what was decided when the dataset was made.
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
	fixed("key_format", "none", "NONE", "DEFAULT", "none")
	fixed("encryption_algorithm", "off", "OFF", "DEFAULT", "off")
	fixed("pbkdf2iters", "0", "0", "DEFAULT", "0")
	if v.wants("creation") {
		made := d.Created.UTC()
		fixed("creation", strconv.FormatInt(made.Unix(), 10), made.Format("Mon Jan _2 15:04 2006"), "NONE", map[string]any{"$date": made.UnixMilli()})
	}
	if d.Volume && v.wants("volsize") {
		row["volsize"] = sizeProperty(d.Size, "LOCAL")
	}
	if d.Volume && v.wants("volblocksize") {
		row["volblocksize"] = sizeProperty(d.BlockSize, "LOCAL")
	}
}

// userKeys lists keys in order, so that whatever is made of them is the same
// every time.
func userKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
