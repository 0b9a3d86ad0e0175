package truenas

import (
	"errors"
	"strings"
)

// A Filter is one condition of a query, as TrueNAS's query-filters have it.
// Several filters given to one call must all hold.
type Filter []any

// Where asks for records whose field equals v. Names may be dotted.
func Where(field string, v any) Filter { return Filter{field, "=", v} }

// Cond asks with one of TrueNAS's operators: = != > >= < <= ~ in nin rin rnin
// ^ !^ $ !$.
func Cond(field, op string, v any) Filter { return Filter{field, op, v} }

// AnyOf holds when one of the filters does.
func AnyOf(filters ...Filter) Filter { return Filter{"OR", filters} }

// queryOptions are the query-options that this package uses.
type queryOptions struct {
	Extra  map[string]any `json:"extra,omitempty"`
	Select []string       `json:"select,omitempty"`
}

// query makes a call's parameters; a nil slice would be sent as null, which is
// refused.
func query(filters []Filter, options ...queryOptions) []any {
	if filters == nil {
		filters = []Filter{}
	}
	params := []any{filters}
	for _, o := range options {
		params = append(params, o)
	}
	return params
}

// listed is the error of a query for a list. Such a query answers an empty list
// where there is nothing, so that "not found" says that something of TrueNAS's
// own is missing. Whoever took it for an answer would take for absent what is
// there.
func listed(method string, err error) error {
	var e *Error
	if !strings.HasSuffix(method, ".query") && method != jobEvents || !errors.As(err, &e) || e.Kind() != ErrNotFound {
		return err
	}
	trouble := *e
	trouble.kind = ErrUnavailable
	return &trouble
}
