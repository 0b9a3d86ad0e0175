package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
)

// filter reports whether a row matches.
type filter func(row any) bool

// filtersOf parses query-filters: a list of [field, operator, value] and ["OR", [filters…]]. A row must match all of them. An
// element of an OR list may itself be a list of filters that must all match.
func filtersOf(raw json.RawMessage) (filter, error) {
	list, ok := listOf(raw)
	if !ok {
		return nil, invalid{{"filters", "Input should be a valid list", eINVAL}}
	}
	return all(list)
}

func all(list []json.RawMessage) (filter, error) {
	filters := make([]filter, len(list))
	for i, raw := range list {
		f, err := filterOf(raw)
		if err != nil {
			return nil, err
		}
		filters[i] = f
	}
	return func(row any) bool {
		for _, f := range filters {
			if !f(row) {
				return false
			}
		}
		return true
	}, nil
}

func anyOf(list []json.RawMessage) (filter, error) {
	filters := make([]filter, len(list))
	for i, raw := range list {
		f, err := branch(raw)
		if err != nil {
			return nil, err
		}
		filters[i] = f
	}
	return func(row any) bool {
		for _, f := range filters {
			if f(row) {
				return true
			}
		}
		return false
	}, nil
}

// branch parses one filter, or a list of filters.
func branch(raw json.RawMessage) (filter, error) {
	if list, ok := listOf(raw); ok && len(list) > 0 && list[0][0] == '[' {
		return all(list)
	}
	return filterOf(raw)
}

// filterOf parses one filter.
func filterOf(raw json.RawMessage) (filter, error) {
	part, ok := listOf(raw)
	if !ok {
		return nil, badFilter("Invalid filter %s", raw)
	}
	var first string
	switch {
	case len(part) == 0 || !decodeString(part[0], &first):
		return nil, badFilter("Invalid filter %s", raw)
	case len(part) == 2 && first != "OR":
		return nil, badFilter("Invalid operation: %s", first)
	case len(part) == 2:
		list, ok := listOf(part[1])
		if !ok || len(list) == 0 {
			return nil, badFilter("OR filter requires at least one branch.")
		}
		return anyOf(list)
	case len(part) != 3:
		return nil, badFilter("Invalid filter %s", raw)
	}
	var op string
	if !decodeString(part[1], &op) {
		return nil, badFilter("Invalid filter %s", raw)
	}
	return condition(first, op, part[2])
}

// condition compares one field. A "*" in its path matches any member of a list.
func condition(path, op string, raw json.RawMessage) (filter, error) {
	test, err := comparison(op, raw)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(path, "*") {
		return func(row any) bool { return test(lookup(row, path)) }, nil
	}
	return func(row any) bool { return anyMember(reflect.ValueOf(row), path, test) }, nil
}

// comparison tests a value. The prefix C of an operator ignores the case of texts.
func comparison(op string, raw json.RawMessage) (func(any) bool, error) {
	value, err := filterValue(raw)
	if err != nil {
		return nil, badFilter("Invalid value %s", raw)
	}
	rest, fold := strings.CutPrefix(op, "C")
	if !fold {
		return operator(op, value)
	}
	test, err := operator(rest, folded(value))
	if err != nil {
		return nil, err
	}
	return func(v any) bool { return test(folded(v)) }, nil
}

// operator returns the test of one operator against a fixed value.
func operator(op string, value any) (func(any) bool, error) {
	switch op {
	case "=":
		return func(v any) bool { return equal(v, value) }, nil
	case "!=":
		return func(v any) bool { return !equal(v, value) }, nil
	case ">", ">=", "<", "<=":
		return ordering(op, value), nil
	case "~":
		return matching(value)
	case "in", "nin":
		list, ok := value.([]any)
		if !ok {
			return nil, badFilter("%s wants a list", op)
		}
		return func(v any) bool { return contains(list, v) == (op == "in") }, nil
	case "rin", "rnin":
		return func(v any) bool { return v != nil && holds(v, value) == (op == "rin") }, nil
	case "^", "!^":
		return affix(op, value, strings.HasPrefix)
	case "$", "!$":
		return affix(op, value, strings.HasSuffix)
	}
	return nil, badFilter("Invalid operation: %s", op)
}

// ordering compares by size. Values without an order do not match.
func ordering(op string, value any) func(any) bool {
	return func(v any) bool {
		c, ok := compare(v, value)
		if !ok {
			return false
		}
		switch op {
		case ">":
			return c > 0
		case ">=":
			return c >= 0
		case "<":
			return c < 0
		}
		return c <= 0
	}
}

// matching tests a regular expression at the start of the text.
func matching(value any) (func(any) bool, error) {
	text, ok := value.(string)
	if !ok {
		return nil, badFilter("~ wants a text")
	}
	re, err := regexp.Compile("^(?:" + text + ")")
	if err != nil {
		return nil, badFilter("~ wants a regular expression")
	}
	return func(v any) bool { s, ok := v.(string); return ok && re.MatchString(s) }, nil
}

// affix tests the start or the end of a text. An operator with ! negates the test.
func affix(op string, value any, has func(s, affix string) bool) (func(any) bool, error) {
	text, ok := value.(string)
	if !ok {
		return nil, badFilter("%s wants a text", op)
	}
	return func(v any) bool {
		s, ok := v.(string)
		return ok && has(s, text) != strings.HasPrefix(op, "!")
	}, nil
}

func badFilter(format string, a ...any) error {
	return invalid{{"filters", "Value error, " + fmt.Sprintf(format, a...), eINVAL}}
}

// listOf returns the elements of an array.
func listOf(raw json.RawMessage) ([]json.RawMessage, bool) {
	raw = bytes.TrimSpace(raw)
	var list []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	return list, true
}
