package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// snapshotProperty is a property of a snapshot. Unlike that of a dataset, it lacks the dataset that it was inherited from.
type snapshotProperty struct {
	Value    string `json:"value"`
	RawValue string `json:"rawvalue"`
	Source   string `json:"source"`
	Parsed   any    `json:"parsed"`
}

// snapshotRow returns a snapshot in the API's form. Up to 25.10 a row has holds only if the query requests them. From 26 on the
// field always exists, except for a new snapshot, and is empty unless requested; properties are included only by name, and user
// properties only together with the retention.
func (c *call) snapshotRow(n *snapshot, v snapshotView) map[string]any {
	s := &c.sim.state
	row := map[string]any{
		"id": n.id(), "name": n.id(), "pool": poolOf(n.Dataset), "type": "SNAPSHOT",
		"snapshot_name": n.Name, "dataset": n.Dataset, "createtxg": strconv.FormatInt(n.Txg, 10),
	}
	late := c.release() >= v26
	row["properties"] = s.snapshotProperties(n, v.properties, late)
	if v.holds || late && c.method != "pool.snapshot.create" {
		held := map[string]int{}
		if n.Held && v.holds {
			held["truenas"] = 1
		}
		row["holds"] = held
	}
	if v.retention {
		row["retention"] = nil
		if late {
			row["user_properties"] = s.snapshotUser(n)
		}
	}
	return row
}

// snapshotUser returns the user properties of a snapshot, with those of its dataset.
func (s *state) snapshotUser(n *snapshot) map[string]string {
	all := map[string]string{}
	if d := s.Datasets[n.Dataset]; d != nil {
		for k, p := range s.userProperties(d, v25_04_2) {
			all[k] = *p.Value
		}
	}
	for k, v := range n.User {
		all[k] = v
	}
	return all
}

// snapshotProperties returns the requested properties. Without a request that is all of them up to 25.10, and none from 26 on.
func (s *state) snapshotProperties(n *snapshot, only map[string]bool, late bool) map[string]snapshotProperty {
	if only == nil && late {
		return map[string]snapshotProperty{}
	}
	all := s.plainProperties(n, only)
	s.sizesOf(n, all)
	s.datesOf(n, all, late)
	for name, p := range all {
		switch {
		case only != nil && !only[name]:
			delete(all, name)
		case late:
			p.Value = fmt.Sprint(p.Parsed)
			all[name] = p
		}
	}
	if !late {
		s.userInProperties(n, all)
	}
	return all
}

func (s *state) datesOf(n *snapshot, all map[string]snapshotProperty, late bool) {
	made := strconv.FormatInt(n.Created.Unix(), 10)
	if late {
		all["creation"] = snapshotProperty{made, made, "NONE", n.Created.Unix()}
		return
	}
	all["creation"] = snapshotProperty{n.Created.UTC().Format("Mon Jan _2 15:04 2006"), made, "NONE", map[string]any{"$date": n.Created.UnixMilli()}}
}

func (s *state) sizesOf(n *snapshot, all map[string]snapshotProperty) {
	size := func(n int64, source string) snapshotProperty {
		return snapshotProperty{shortSize(n), strconv.FormatInt(n, 10), source, n}
	}
	referenced := size(s.snapshotReferenced(n), "NONE")
	for _, name := range []string{"referenced", "logicalreferenced", "written"} {
		all[name] = referenced
	}
	all["used"] = size(0, "NONE")
	all["volsize"] = snapshotProperty{Source: "NONE"}
	if n.Size > 0 {
		all["volsize"] = size(n.Size, "LOCAL")
	}
}

// plainProperties returns the text properties.
func (s *state) plainProperties(n *snapshot, only map[string]bool) map[string]snapshotProperty {
	wanted := func(name string) bool { return only == nil || only[name] }
	var list []string
	if wanted("clones") || wanted("numclones") {
		list = s.clones(n.id())
	}
	holds, deferred := "0", "off"
	if n.Held {
		holds = "1"
	}
	if n.Going {
		deferred = "on"
	}
	all := map[string]snapshotProperty{}
	set := func(source string, pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			if wanted(pairs[i]) {
				all[pairs[i]] = snapshotProperty{pairs[i+1], pairs[i+1], source, pairs[i+1]}
			}
		}
	}
	set("NONE", "clones", strings.Join(list, ","), "createtxg", strconv.FormatInt(n.Txg, 10), "guid", strconv.FormatInt(n.Txg, 10),
		"objsetid", strconv.FormatInt(n.Txg, 10), "name", n.id(), "numclones", strconv.Itoa(len(list)), "userrefs", holds,
		"defer_destroy", deferred, "type", "snapshot", "inconsistent", "0", "redacted", "0", "unique", "0",
		"encryptionroot", "", "ivsetguid", "", "keyguid", "", "keystatus", "", "redact_snaps", "", "remaptxg", "")
	set("DEFAULT", "context", "none", "defcontext", "none", "fscontext", "none", "rootcontext", "none", "mlslabel", "none",
		"encryption", "off", "prefetch", "all", "primarycache", "all", "secondarycache", "all")
	for _, name := range []string{"compressratio", "refcompressratio"} {
		all[name] = snapshotProperty{"1.00x", "1.00", "NONE", "1.00"}
	}
	s.ofItsKind(n, all, set)
	return all
}

// ofItsKind adds the properties that differ between snapshots of volumes and of file systems.
func (s *state) ofItsKind(n *snapshot, all map[string]snapshotProperty, set func(source string, pairs ...string)) {
	flag := func(source string, value bool, names ...string) {
		text := map[bool]string{true: "on", false: "off"}[value]
		for _, name := range names {
			all[name] = snapshotProperty{text, text, source, value}
		}
	}
	if n.Size > 0 {
		set("NONE", "acltype", "", "casesensitivity", "", "normalization", "", "useraccounting", "0")
		for _, name := range []string{"devices", "exec", "nbmand", "setuid", "utf8only", "version", "xattr"} {
			all[name] = snapshotProperty{Source: "NONE"}
		}
		return
	}
	set("NONE", "casesensitivity", "sensitive", "normalization", "none", "useraccounting", "1")
	set("INHERITED", "acltype", "posix")
	flag("DEFAULT", true, "devices", "exec", "setuid")
	flag("DEFAULT", false, "nbmand")
	flag("NONE", false, "utf8only")
	flag("INHERITED", true, "xattr")
	all["version"] = snapshotProperty{"5", "5", "NONE", 5}
}

// shortSize formats bytes as libzfs does for a snapshot: "0B", "56K".
func shortSize(n int64) string {
	if n == 0 {
		return "0B"
	}
	return humanSize(n)
}

// userInProperties adds user properties to the others, as releases up to 25.10 do.
func (s *state) userInProperties(n *snapshot, all map[string]snapshotProperty) {
	if d := s.Datasets[n.Dataset]; d != nil {
		for k, p := range s.userProperties(d, v25_04_2) {
			all[k] = snapshotProperty{*p.Value, *p.RawValue, "INHERITED", *p.Value}
		}
	}
	for k, v := range n.User {
		all[k] = snapshotProperty{v, v, "LOCAL", v}
	}
}

func (s *state) snapshotReferenced(n *snapshot) int64 {
	bytes := int64(0)
	eachContents(n.Data, n.Files, func(_ string, c *contents) { bytes += c.stored * blockSize })
	return bytes
}
