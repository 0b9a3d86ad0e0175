package truenas

import (
	"errors"
	"strings"
)

// A Filter is one condition of a query, as in TrueNAS's query-filters. All filters of a call must
// match.
type Filter []any

// Where matches records whose field equals v. Names may be dotted.
func Where(field string, v any) Filter { return Filter{field, "=", v} }

// Cond compares with one of TrueNAS's operators: = != > >= < <= ~ in nin rin rnin ^ !^ $ !$.
func Cond(field, op string, v any) Filter { return Filter{field, op, v} }

// AnyOf matches if one of the filters does.
func AnyOf(filters ...Filter) Filter { return Filter{"OR", filters} }

// queryOptions are the query-options that this package uses.
type queryOptions struct {
	Extra  map[string]any `json:"extra,omitempty"`
	Select []string       `json:"select,omitempty"`
}

// query builds a call's parameters. TrueNAS refuses null, so a nil slice becomes an empty list.
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

// listed adjusts the error of a query for a list. An empty result is an empty list, so "not found"
// here means that something else is missing on the NAS. Passing it on would make existing records
// look absent.
func listed(method string, err error) error {
	var e *Error
	if !strings.HasSuffix(method, ".query") && method != jobEvents || !errors.As(err, &e) || e.Kind() != ErrNotFound {
		return err
	}
	trouble := *e
	trouble.kind = ErrUnavailable
	return &trouble
}
