package sim

import (
	"encoding/json"
	"slices"
	"strings"
)

// fields answers a field of a record without the cost of its row, and false when that is not possible. A path with a "*" has any
// number of values.
type fields func(path string) (values []any, cheap bool)

// A sieve is false for a record whose row the filters of a query drop, as far as its cheap fields show that.
type sieve func(fields) bool

func anything(fields) bool { return true }

// sieve reads the filters of a query. Without it, a query for one record of a thousand builds a thousand rows. What is malformed
// passes, for the query itself refuses it.
func (c *call) sieve() sieve {
	if len(c.params) == 0 {
		return anything
	}
	return sieveOfAll(c.params[0])
}

func sieveOfAll(raw json.RawMessage) sieve {
	list, _ := listOf(raw)
	sieves := make([]sieve, len(list))
	for i, one := range list {
		sieves[i] = sieveOf(one)
	}
	return func(f fields) bool {
		for _, s := range sieves {
			if !s(f) {
				return false
			}
		}
		return true
	}
}

func sieveOf(raw json.RawMessage) sieve {
	part, ok := listOf(raw)
	var word, op string
	switch {
	case !ok || len(part) == 0 || !decodeString(part[0], &word):
		return anything
	case len(part) == 2 && word == "OR":
		return sieveOfAny(part[1])
	case len(part) != 3 || !decodeString(part[1], &op):
		return anything
	}
	test, err := comparison(op, part[2])
	if err != nil {
		return anything
	}
	return func(f fields) bool {
		values, cheap := f(word)
		return !cheap || slices.ContainsFunc(values, test)
	}
}

func sieveOfAny(raw json.RawMessage) sieve {
	branches, ok := listOf(raw)
	if !ok || len(branches) == 0 {
		return anything
	}
	sieves := make([]sieve, len(branches))
	for i, branch := range branches {
		sieves[i] = sieveOf(branch)
		if list, ok := listOf(branch); ok && len(list) > 0 && list[0][0] == '[' {
			sieves[i] = sieveOfAll(branch)
		}
	}
	return func(f fields) bool {
		for _, s := range sieves {
			if s(f) {
				return true
			}
		}
		return false
	}
}

// cheap are the fields of a dataset that filters are often about.
func (s *state) cheap(d *dataset, v datasetView) fields {
	return func(path string) ([]any, bool) {
		switch path {
		case "id", "name":
			return []any{d.Name}, true
		case "type":
			if d.Volume {
				return []any{"VOLUME"}, true
			}
			return []any{"FILESYSTEM"}, true
		case "origin.rawvalue":
			return []any{d.Origin}, v.wants("origin")
		}
		if name, ok := userValue(path); ok && v.user {
			return []any{s.userText(d, name)}, true
		}
		return nil, false
	}
}

// userValue is the name of the user property that a path is of. TrueNAS shows its own under other names.
func userValue(path string) (string, bool) {
	name, of := strings.CutPrefix(path, "user_properties.")
	name, raw := strings.CutSuffix(name, ".rawvalue")
	return name, of && raw && strings.Contains(name, ":") && !strings.ContainsAny(name, `.\*`)
}

// userText is a user property that a dataset has or inherits, or nil.
func (s *state) userText(d *dataset, name string) any {
	for a := d; a != nil; a = s.Datasets[parentOf(a.Name)] {
		if v, ok := a.User[name]; ok {
			return v
		}
	}
	return nil
}

// cheap are the fields of a VM that filters are often about.
func (m *vm) cheap(devices func() []*device) fields {
	return func(path string) ([]any, bool) {
		switch path {
		case "id":
			return []any{int64(m.ID)}, true
		case "name":
			return []any{m.Config.Name}, true
		case "description":
			return []any{m.Config.Description}, true
		case "uuid":
			if m.Config.UUID == nil {
				return []any{nil}, true
			}
			return []any{*m.Config.UUID}, true
		}
		if name, ok := strings.CutPrefix(path, "devices.*.attributes."); ok && (name == "path" || name == "mac") {
			var values []any
			for _, d := range devices() {
				if v, ok := d.Attributes[name]; ok {
					values = append(values, v)
				}
			}
			return values, true
		}
		return nil, false
	}
}
