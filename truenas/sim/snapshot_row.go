package sim

import (
	"fmt"
	"strconv"
	"strings"
)

// snapshotProperty is how a property of a snapshot is shown: unlike that of a
// dataset, without where it was inherited from.
type snapshotProperty struct {
	Value    string `json:"value"`
	RawValue string `json:"rawvalue"`
	Source   string `json:"source"`
	Parsed   any    `json:"parsed"`
}

// snapshotRow is a snapshot as the API shows it. Up to 25.10 holds are only there when a query
// asks for them. From 26 on they always are, but for a snapshot that was just made, and
// properties are only there by name, user properties only together with the retention.
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
		if n.Held {
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

// snapshotUser are the user properties of a snapshot, with those of its dataset.
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

func (s *state) snapshotProperties(n *snapshot, only map[string]bool, late bool) map[string]snapshotProperty {
	plain := func(value, raw string, parsed any) snapshotProperty {
		if late {
			value = fmt.Sprint(parsed)
		}
		return snapshotProperty{value, raw, "NONE", parsed}
	}
	size := func(n int64) snapshotProperty { return plain(humanSize(n), strconv.FormatInt(n, 10), n) }
	clones, txg := strings.Join(s.clones(n.id()), ","), strconv.FormatInt(n.Txg, 10)
	all := map[string]snapshotProperty{
		"createtxg":  plain(txg, txg, txg),
		"referenced": size(s.snapshotReferenced(n)),
		"used":       size(0),
		"clones":     plain(clones, clones, clones),
	}
	made := strconv.FormatInt(n.Created.Unix(), 10)
	if late {
		all["creation"] = plain(made, made, n.Created.Unix())
	} else {
		all["creation"] = plain(n.Created.UTC().Format("Mon Jan _2 15:04 2006"), made, map[string]any{"$date": n.Created.UnixMilli()})
	}
	if n.Size > 0 {
		all["volsize"] = size(n.Size)
	}
	for name := range all {
		if only == nil && late || only != nil && !only[name] {
			delete(all, name)
		}
	}
	if !late {
		s.userInProperties(n, all)
	}
	return all
}

// userInProperties shows user properties among the others, as releases up to 25.10 do.
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
