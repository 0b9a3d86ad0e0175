package sim

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// fields returns fields of a record without the cost of its row.
type fields struct {
	// values returns the values of a field, and false if that is not possible. A path with a "*" has any number of values.
	values func(path string) (values []any, cheap bool)
	// anyText reports whether a value of a text field passes a test, and false if the field may hold other types. It does not
	// allocate, for a NAS with thousands of records.
	anyText func(path string, test func(string) bool) (pass, ok bool)
}

// A prefilter returns false for a record if its cheap fields show that the filters of a query drop its row.
type prefilter func(fields) bool

func anything(fields) bool { return true }

// prefilter parses the filters of a query. Without it, a query for one record of a thousand would build a thousand rows. Malformed
// filters pass, because the query itself refuses them.
func (c *call) prefilter() prefilter {
	if len(c.params) == 0 {
		return anything
	}
	return prefilterAll(c.params[0])
}

func prefilterAll(raw json.RawMessage) prefilter {
	list, _ := listOf(raw)
	prefilters := make([]prefilter, len(list))
	for i, one := range list {
		prefilters[i] = prefilterOf(one)
	}
	return func(f fields) bool {
		for _, s := range prefilters {
			if !s(f) {
				return false
			}
		}
		return true
	}
}

func prefilterOf(raw json.RawMessage) prefilter {
	part, ok := listOf(raw)
	var word, op string
	switch {
	case !ok || len(part) == 0 || !decodeString(part[0], &word):
		return anything
	case len(part) == 2 && word == "OR":
		return prefilterAny(part[1])
	case len(part) != 3 || !decodeString(part[1], &op):
		return anything
	}
	test, err := comparison(op, part[2])
	if err != nil {
		return anything
	}
	onText := textTest(op, part[2])
	return func(f fields) bool {
		if onText != nil {
			if pass, ok := f.anyText(word, onText); ok {
				return pass
			}
		}
		values, cheap := f.values(word)
		return !cheap || slices.ContainsFunc(values, test)
	}
}

// textTest returns the test of an operator on texts, or nil.
func textTest(op string, raw json.RawMessage) func(string) bool {
	var text string
	if !decodeString(raw, &text) {
		return nil
	}
	switch op {
	case "=":
		return func(s string) bool { return s == text }
	case "^":
		return func(s string) bool { return strings.HasPrefix(s, text) }
	case "rin":
		return func(s string) bool { return strings.Contains(s, text) }
	case "~":
		if re, err := regexp.Compile("^(?:" + text + ")"); err == nil {
			return re.MatchString
		}
	}
	return nil
}

func prefilterAny(raw json.RawMessage) prefilter {
	branches, ok := listOf(raw)
	if !ok || len(branches) == 0 {
		return anything
	}
	prefilters := make([]prefilter, len(branches))
	for i, branch := range branches {
		prefilters[i] = prefilterOf(branch)
		if list, ok := listOf(branch); ok && len(list) > 0 && list[0][0] == '[' {
			prefilters[i] = prefilterAll(branch)
		}
	}
	return func(f fields) bool {
		for _, s := range prefilters {
			if s(f) {
				return true
			}
		}
		return false
	}
}

// cheap returns the fields of a dataset that filters often use.
func (s *state) cheap(d *dataset, v datasetView) fields {
	anyText := func(path string, test func(string) bool) (pass, ok bool) {
		switch path {
		case "id", "name":
			return test(d.Name), true
		case "origin.rawvalue":
			return v.wants("origin") && test(d.Origin), v.wants("origin")
		}
		if name, ok := userValue(path); ok && v.user {
			text, has := s.userText(d, name).(string)
			return has && test(text), true
		}
		return false, false
	}
	values := func(path string) ([]any, bool) {
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
	return fields{values, anyText}
}

// cheap returns the fields of a snapshot that filters often use.
func (n *snapshot) cheap() fields {
	text := func(path string) (string, bool) {
		switch path {
		case "id", "name":
			return n.id(), true
		case "snapshot_name":
			return n.Name, true
		case "dataset":
			return n.Dataset, true
		case "pool":
			return poolOf(n.Dataset), true
		}
		return "", false
	}
	anyText := func(path string, test func(string) bool) (pass, ok bool) {
		value, ok := text(path)
		return ok && test(value), ok
	}
	values := func(path string) ([]any, bool) {
		value, ok := text(path)
		return []any{value}, ok
	}
	return fields{values, anyText}
}

// userValue returns the user property that a path names. TrueNAS shows its own ones under other names.
func userValue(path string) (string, bool) {
	name, of := strings.CutPrefix(path, "user_properties.")
	name, raw := strings.CutSuffix(name, ".rawvalue")
	return name, of && raw && strings.Contains(name, ":") && !strings.ContainsAny(name, `.\*`)
}

// userText returns a user property that a dataset has or inherits, or nil.
func (s *state) userText(d *dataset, name string) any {
	for a := d; a != nil; a = s.Datasets[parentOf(a.Name)] {
		if v, ok := a.User[name]; ok {
			return v
		}
	}
	return nil
}

// cheap returns the fields of a VM that filters often use.
func (m *vm) cheap(devices func() []*device) fields {
	anyText := func(path string, test func(string) bool) (pass, ok bool) {
		switch path {
		case "name":
			return test(m.Config.Name), true
		case "description":
			return test(m.Config.Description), true
		case "uuid":
			return m.Config.UUID != nil && test(*m.Config.UUID), true
		case "devices.*.attributes.path", "devices.*.attributes.mac":
			name := path[strings.LastIndexByte(path, '.')+1:]
			return slices.ContainsFunc(devices(), func(d *device) bool {
				text, ok := d.Attributes[name].(string)
				return ok && test(text)
			}), true
		}
		return false, false
	}
	values := func(path string) ([]any, bool) {
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
	return fields{values, anyText}
}

// prefilterID returns a test of the ids that can match the query filters on a field. It saves the rows that the filters would
// drop.
func (c *call) prefilterID(field string) func(id int) bool {
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
