package sim

import (
	"encoding/json"
	"strings"
)

// prefilter reads from query filters which names can pass at all: conditions on
// id or name with "=", "in" or "^". It saves building rows that the filters
// would drop again.
func (c *call) prefilter() func(name string) bool {
	var list [][3]json.RawMessage
	all := func(string) bool { return true }
	if len(c.params) == 0 || json.Unmarshal(c.params[0], &list) != nil {
		return all
	}
	keep := all
	for _, f := range list {
		if one := prefilterOne(f); one != nil {
			before := keep
			keep = func(name string) bool { return before(name) && one(name) }
		}
	}
	return keep
}

func prefilterOne(f [3]json.RawMessage) func(string) bool {
	var field, op, text string
	var names []string
	if json.Unmarshal(f[0], &field) != nil || json.Unmarshal(f[1], &op) != nil || (field != "id" && field != "name") {
		return nil
	}
	switch {
	case op == "=" && json.Unmarshal(f[2], &text) == nil:
		return func(name string) bool { return name == text }
	case op == "^" && json.Unmarshal(f[2], &text) == nil:
		return func(name string) bool { return strings.HasPrefix(name, text) }
	case op == "in" && json.Unmarshal(f[2], &names) == nil:
		set := map[string]bool{}
		for _, name := range names {
			set[name] = true
		}
		return func(name string) bool { return set[name] }
	}
	return nil
}

// prefilterBy does the same for one field that holds an id.
func (c *call) prefilterBy(field string) func(id int) bool {
	var list [][3]json.RawMessage
	keep := func(int) bool { return true }
	if len(c.params) == 0 || json.Unmarshal(c.params[0], &list) != nil {
		return keep
	}
	for _, f := range list {
		var name, op string
		var want int
		if json.Unmarshal(f[0], &name) != nil || json.Unmarshal(f[1], &op) != nil || name != field || op != "=" {
			continue
		}
		if json.Unmarshal(f[2], &want) == nil {
			before := keep
			keep = func(id int) bool { return before(id) && id == want }
		}
	}
	return keep
}
