package sim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"reflect"
	"strings"
)

// filterValue decodes the value of a filter. Whole numbers become int64, the type that they have in rows.
func filterValue(raw json.RawMessage) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return withoutNumbers(v), nil
}

func withoutNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return nil // larger than any number that a row can hold
		}
		return f
	case []any:
		for i := range v {
			v[i] = withoutNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = withoutNumbers(v[k])
		}
	}
	return v
}

// equal compares two values as Python does: 1 equals 1.0.
func equal(a, b any) bool {
	if c, ok := compare(a, b); ok {
		return c == 0
	}
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k := range a {
			other, ok := b[k]
			if !ok || !equal(a[k], other) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// compare orders two numbers or two texts. Other values have no order.
func compare(a, b any) (int, bool) {
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		return cmp.Compare(x, y), ok
	case int64:
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, y), true
		}
		y, ok := b.(float64)
		return cmp.Compare(float64(x), y), ok
	case float64:
		if y, ok := b.(int64); ok {
			return cmp.Compare(x, float64(y)), true
		}
		y, ok := b.(float64)
		return cmp.Compare(x, y), ok
	}
	return 0, false
}

func contains(list []any, v any) bool {
	for _, e := range list {
		if equal(e, v) {
			return true
		}
	}
	return false
}

// holds reports whether a list, a text or an object contains the value.
func holds(v, value any) bool {
	switch v := v.(type) {
	case []any:
		return contains(v, value)
	case string:
		s, ok := value.(string)
		return ok && strings.Contains(v, s)
	case map[string]any:
		s, ok := value.(string)
		_, has := v[s]
		return ok && has
	}
	return false
}

// folded returns a text, or a list of texts, in lower case.
func folded(v any) any {
	switch v := v.(type) {
	case string:
		return strings.ToLower(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = folded(v[i])
		}
		return out
	}
	return v
}
