package sim

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// prefilter reads from query filters which names can pass at all: conditions on
// id or name with "=", "in", "^" or "~", and disjunctions of such. It saves
// building rows that the filters would drop again.
func (c *call) prefilter() func(name string) bool {
	var list []json.RawMessage
	keep := func(string) bool { return true }
	if len(c.params) == 0 || json.Unmarshal(c.params[0], &list) != nil {
		return keep
	}
	for _, raw := range list {
		if one := prefilterOne(raw); one != nil {
			before := keep
			keep = func(name string) bool { return before(name) && one(name) }
		}
	}
	return keep
}

// prefilterOne is nil for a filter that does not restrict names.
func prefilterOne(raw json.RawMessage) func(string) bool {
	parts, ok := listOf(raw)
	var word string
	if !ok || len(parts) == 0 || !decodeString(parts[0], &word) {
		return nil
	}
	switch {
	case len(parts) == 2 && word == "OR":
		return prefilterAny(parts[1])
	case len(parts) == 3 && (word == "id" || word == "name"):
		return prefilterName(parts[1], parts[2])
	}
	return nil
}

func prefilterAny(raw json.RawMessage) func(string) bool {
	branches, ok := listOf(raw)
	var tests []func(string) bool
	for _, branch := range branches {
		one := prefilterOne(branch)
		if one == nil {
			return nil
		}
		tests = append(tests, one)
	}
	if !ok || len(tests) == 0 {
		return nil
	}
	return func(name string) bool {
		return slices.ContainsFunc(tests, func(test func(string) bool) bool { return test(name) })
	}
}

func prefilterName(rawOp, value json.RawMessage) func(string) bool {
	var op, text string
	var names []string
	if !decodeString(rawOp, &op) {
		return nil
	}
	switch {
	case op == "=" && json.Unmarshal(value, &text) == nil:
		return func(name string) bool { return name == text }
	case op == "^" && json.Unmarshal(value, &text) == nil:
		return func(name string) bool { return strings.HasPrefix(name, text) }
	case op == "~" && json.Unmarshal(value, &text) == nil:
		if re, err := regexp.Compile("^(?:" + text + ")"); err == nil {
			return re.MatchString
		}
	case op == "in" && json.Unmarshal(value, &names) == nil:
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
