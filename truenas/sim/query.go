package sim

import (
	"encoding/json"
	"slices"
	"strings"
)

// queryOptions are the options of a query. Each method defines its "extra".
type queryOptions struct {
	Extra             map[string]any    `json:"extra"`
	OrderBy           []string          `json:"order_by"`
	Select            []json.RawMessage `json:"select"`
	Count             bool              `json:"count"`
	Get               bool              `json:"get"`
	Offset            int               `json:"offset"`
	Limit             int               `json:"limit"`
	ForceSQLFilters   bool              `json:"force_sql_filters"`
	DeleteInvalidRows bool              `json:"delete_invalid_rows" sim:"since=27"`
}

// query applies the call's filters and options to rows in the order of their ids. The result is a list, a row or a number. It may
// share memory with the rows.
func query[T any](c *call, rows []T) (any, error) {
	filters := json.RawMessage("[]")
	var o queryOptions
	if err := c.args([]string{"filters", "options"}, &filters, &o); err != nil {
		return nil, err
	}
	if err := o.limits(c.release()); err != nil {
		return nil, err
	}
	pass, err := filtersOf(filters)
	if err != nil {
		return nil, err
	}
	selected, err := selectionOf(o.Select)
	if err != nil {
		return nil, err
	}
	var passed []T
	for _, row := range rows {
		if pass(row) {
			passed = append(passed, row)
		}
	}
	if err := orderBy(passed, o.OrderBy); err != nil {
		return nil, err
	}
	if o.Count {
		return len(passed), nil
	}
	if o.Get {
		return shaped(passed, selected, true)
	}
	passed = passed[sliceIndex(o.Offset, len(passed)):]
	if o.Limit != 0 {
		passed = passed[:sliceIndex(o.Limit, len(passed))]
	}
	return shaped(passed, selected, false)
}

// limits checks offset and limit against the model of the release: older ones have no limits.
func (o queryOptions) limits(r release) error {
	var v invalid
	for _, n := range []struct {
		name  string
		value int
	}{{"offset", o.Offset}, {"limit", o.Limit}} {
		if r >= v27 && n.value < 0 {
			v.add("options."+n.name, eINVAL, "Input should be greater than or equal to 0")
		}
	}
	if r >= v27 && o.Limit > 10000 {
		v.add("options.limit", eINVAL, "Input should be less than or equal to 10000")
	}
	return v.err()
}

// sliceIndex returns the end of a Python slice: a negative index counts from the end.
func sliceIndex(i, n int) int {
	if i < 0 {
		return max(0, n+i)
	}
	return min(i, n)
}

// shaped returns the selected fields of the rows, or of the first row.
func shaped[T any](found []T, selected selection, get bool) (any, error) {
	if get && len(found) == 0 {
		return nil, matchNotFound()
	}
	switch {
	case selected == nil && get:
		return found[0], nil
	case selected == nil && found == nil:
		return []T{}, nil
	case selected == nil:
		return found, nil
	case get:
		return selected.of(found[0]), nil
	}
	out := make([]map[string]any, len(found))
	for i := range found {
		out[i] = selected.of(found[i])
	}
	return out, nil
}

// orderBy sorts by the fields, the most significant first. A "-" before a name reverses the order; "nulls_first:" and
// "nulls_last:" place rows without a value. A missing field is a Python error.
func orderBy[T any](rows []T, fields []string) error {
	for _, name := range slices.Backward(fields) {
		nullsFirst := false
		if rest, ok := strings.CutPrefix(name, "nulls_first:"); ok {
			name, nullsFirst = rest, true
		}
		name = strings.TrimPrefix(name, "nulls_last:")
		name, down := strings.CutPrefix(name, "-")
		type keyed struct {
			key any
			row T
		}
		list := make([]keyed, len(rows))
		for i, row := range rows {
			key, ok := found(row, name)
			if !ok {
				return uncaught("KeyError", "'%s'", name)
			}
			list[i] = keyed{key, row}
		}
		slices.SortStableFunc(list, func(a, b keyed) int { return order(a.key, b.key, down, nullsFirst) })
		for i := range list {
			rows[i] = list[i].row
		}
	}
	return nil
}

func order(a, b any, down, nullsFirst bool) int {
	if a == nil || b == nil {
		c := 0
		switch {
		case a == nil && b != nil:
			c = 1
		case a != nil:
			c = -1
		}
		if nullsFirst {
			return -c
		}
		return c
	}
	c, ok := compare(a, b)
	if x, isBool := a.(bool); !ok && isBool && a != b {
		c = -1
		if x {
			c = 1
		}
	}
	if down {
		return -c
	}
	return c
}

// selection lists the fields to show, with their new names.
type selection [][2]string

// selectionOf parses the select option: names, or [name, new name].
func selectionOf(list []json.RawMessage) (selection, error) {
	var s selection
	for _, raw := range list {
		var name string
		var pair []string
		switch {
		case decodeString(raw, &name):
			s = append(s, [2]string{name, ""})
		case json.Unmarshal(raw, &pair) == nil && len(pair) == 2:
			s = append(s, [2]string{pair[0], pair[1]})
		default:
			return nil, invalid{{"options.select", "A field is a name or a pair of names", eINVAL}}
		}
	}
	return s, nil
}

// of returns the selected fields of a row. A dotted name makes nested objects. Missing fields are omitted.
func (s selection) of(row any) map[string]any {
	out := map[string]any{}
	for _, f := range s {
		v, ok := found(row, f[0])
		if !ok {
			continue
		}
		if f[1] != "" {
			out[f[1]] = v
			continue
		}
		at, path := out, f[0]
		for {
			var name string
			name, path = nextName(path)
			if path == "" {
				at[name] = v
				break
			}
			inner, ok := at[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
				at[name] = inner
			}
			at = inner
		}
	}
	return out
}
