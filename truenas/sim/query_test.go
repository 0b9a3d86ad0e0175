package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

type testRow struct {
	testBase
	Name   string         `json:"name"`
	Size   *int64         `json:"size"`
	Tags   []string       `json:"tags"`
	Status testStatus     `json:"status"`
	Props  map[string]any `json:"props"`
	On     bool           `json:"on"`
}

type testBase struct {
	ID int `json:"id"`
}

type testStatus struct {
	State string `json:"state"`
}

func testRows() []testRow {
	size := func(n int64) *int64 { return &n }
	return []testRow{
		{testBase{1}, "alpha", size(10), []string{"x"}, testStatus{"RUNNING"}, map[string]any{"a.b": 1}, true},
		{testBase{2}, "beta", nil, []string{"x", "y"}, testStatus{"STOPPED"}, nil, false},
		{testBase{3}, "Gamma", size(30), nil, testStatus{"RUNNING"}, map[string]any{"k": map[string]any{"rawvalue": "7"}}, true},
	}
}

func run(t testing.TB, filters, options string) (string, error) {
	t.Helper()
	c := &call{sim: &Sim{release: v25_10}, params: []json.RawMessage{json.RawMessage(filters), json.RawMessage(options)}}
	got, err := query(c, testRows())
	if err != nil {
		return "", err
	}
	return jsonOf(t, got), nil
}

func TestQueryFilters(t *testing.T) {
	for _, tt := range []struct{ name, filters, want string }{
		{"none", `[]`, `[1,2,3]`},
		{"equal", `[["name","=","beta"]]`, `[2]`},
		{"unequal", `[["name","!=","beta"]]`, `[1,3]`},
		{"a number equal to a fraction", `[["id","=",2.0]]`, `[2]`},
		{"greater", `[["size",">",10]]`, `[3]`},
		{"greater or equal", `[["size",">=",10]]`, `[1,3]`},
		{"less, with a null in between", `[["size","<",30]]`, `[1]`},
		{"less or equal", `[["size","<=",30.5]]`, `[1,3]`},
		{"null", `[["size","=",null]]`, `[2]`},
		{"not null", `[["size","!=",null]]`, `[1,3]`},
		{"true", `[["on","=",true]]`, `[1,3]`},
		{"any member of a list", `[["tags.*","=","y"]]`, `[2]`},
		{"no member of a list", `[["tags.*","=","z"]]`, `[]`},
		{"the members of a value other than a list", `[["status.*","=","RUNNING"]]`, `[]`},
		{"a pattern matches at the start", `[["name","~","a.*a"]]`, `[1]`},
		{"in", `[["id","in",[1,3,9]]]`, `[1,3]`},
		{"not in", `[["id","nin",[1,3,9]]]`, `[2]`},
		{"a list with the value", `[["tags","rin","y"]]`, `[2]`},
		{"a text with the value", `[["name","rin","et"]]`, `[2]`},
		{"a list without the value", `[["tags","rnin","y"]]`, `[1]`},
		{"starts with", `[["name","^","al"]]`, `[1]`},
		{"does not start with", `[["name","!^","al"]]`, `[2,3]`},
		{"ends with", `[["name","$","ta"]]`, `[2]`},
		{"does not end with", `[["name","!$","ta"]]`, `[1,3]`},
		{"whatever the case", `[["name","C=","gAMMA"]]`, `[3]`},
		{"a dotted name", `[["status.state","=","RUNNING"]]`, `[1,3]`},
		{"a dotted name in a map", `[["props.k.rawvalue","=","7"]]`, `[3]`},
		{"a dot within a name", `[["props.a\\.b","=",1]]`, `[1]`},
		{"an element", `[["tags.1","=","y"]]`, `[2]`},
		{"a missing name", `[["nothing.at.all","=",null]]`, `[1,2,3]`},
		{"a whole list", `[["tags","=",["x","y"]]]`, `[2]`},
		{"two at once", `[["on","=",true],["id",">",1]]`, `[3]`},
		{"one or the other", `[["OR",[["id","=",1],["id","=",2]]]]`, `[1,2]`},
		{"and within or", `[["OR",[[["on","=",true],["id",">",1]],["name","=","beta"]]]]`, `[2,3]`},
		{"or within or", `[["OR",[[["on","=",true],["OR",[["id",">",1]]]],["id","=",1]]]]`, `[1,3]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := run(t, tt.filters, `{"select":["id"]}`)
			if err != nil {
				t.Fatal(err)
			}
			var rows []testBase
			if err := json.Unmarshal([]byte(got), &rows); err != nil {
				t.Fatal(err)
			}
			ids := []int{}
			for _, r := range rows {
				ids = append(ids, r.ID)
			}
			if jsonOf(t, ids) != tt.want {
				t.Errorf("got %v, want %s", ids, tt.want)
			}
		})
	}
}

func TestMalformedQueryFilters(t *testing.T) {
	for _, tt := range []struct{ name, filters, options string }{
		{"no list", `{}`, `{}`},
		{"two parts", `[["id","="]]`, `{}`},
		{"an unknown operator", `[["id","==",1]]`, `{}`},
		{"a number as a name", `[[1,"=",1]]`, `{}`},
		{"in without a list", `[["id","in",1]]`, `{}`},
		{"no regular expression", `[["name","~","("]]`, `{}`},
		{"or without any", `[["OR",[]]]`, `{}`},
		{"an unknown option", `[]`, `{"order":["id"]}`},
		{"a conjunction by name", `[["AND",[["id","=",1]]]]`, `{}`},
		{"a selection of three", `[]`, `{"select":[["a","b","c"]]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := run(t, tt.filters, tt.options)
			var bad invalid
			if !errors.As(err, &bad) {
				t.Errorf("got %v, want a validation error", err)
			}
		})
	}
}

func TestQueryOptions(t *testing.T) {
	for _, tt := range []struct{ name, filters, options, want string }{
		{"count", `[["on","=",true]]`, `{"count":true}`, `2`},
		{"select", `[["id","=",1]]`, `{"select":["name","status.state"]}`, `[{"name":"alpha","status":{"state":"RUNNING"}}]`},
		{"select under another name", `[["id","=",1]]`, `{"select":[["status.state","s"]]}`, `[{"s":"RUNNING"}]`},
		{"get", `[["id","=",2]]`, `{"get":true,"select":["id"]}`, `{"id":2}`},
		{"limit and offset", `[]`, `{"offset":1,"limit":1,"select":["id"]}`, `[{"id":2}]`},
		{"an offset beyond the end", `[]`, `{"offset":9}`, `[]`},
		{"none", `[["id","=",9]]`, `{}`, `[]`},
		{"ordered, downwards", `[]`, `{"order_by":["-id"],"select":["id"]}`, `[{"id":3},{"id":2},{"id":1}]`},
		{"ordered by two", `[]`, `{"order_by":["on","-name"],"select":["id"]}`, `[{"id":2},{"id":1},{"id":3}]`},
		{"nulls come last", `[]`, `{"order_by":["size"],"select":["id"]}`, `[{"id":1},{"id":3},{"id":2}]`},
		{"unless they shall not", `[]`, `{"order_by":["nulls_first:-size"],"select":["id"]}`, `[{"id":2},{"id":3},{"id":1}]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := run(t, tt.filters, tt.options); err != nil || got != tt.want {
				t.Errorf("got %s %v, want %s", got, err, tt.want)
			}
		})
	}
	if _, err := run(t, `[["id","=",9]]`, `{"get":true}`); err == nil || err.Error() != "MatchNotFound()" {
		t.Errorf("get without a match: %v", err)
	}
}

// Lookups read a row without encoding it. They must agree with its JSON.
func TestLookupMatchesJSON(t *testing.T) {
	for _, row := range testRows() {
		var decoded any
		if err := json.Unmarshal([]byte(jsonOf(t, row)), &decoded); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"id", "name", "size", "tags", "tags.0", "status", "status.state", "props", `props.a\.b`, "props.k.rawvalue", "on", "none", "name.none"} {
			if a, b := jsonOf(t, lookup(row, path)), jsonOf(t, lookup(decoded, path)); a != b {
				t.Errorf("%s of row %d: %s, and %s in its JSON", path, row.ID, a, b)
			}
		}
	}
}

func BenchmarkQueryOfAThousandMachines(b *testing.B) {
	n := newWire(b, Config{})
	for i := range 1000 {
		if err := n.AddVM(fmt.Sprintf("vm%d", i), 1, 1024); err != nil {
			b.Fatal(err)
		}
	}
	p := n.login()
	for _, bb := range []struct {
		name   string
		params []any
	}{
		{"all", nil},
		{"one by name", []any{[]any{[]any{"name", "=", "vm500"}}}},
		{"names in order", []any{[]any{}, map[string]any{"select": []string{"name"}, "order_by": []string{"-name"}}}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				p.must("vm.query", bb.params...)
			}
		})
	}
}

func FuzzFilters(f *testing.F) {
	for _, seed := range []string{
		`[]`, `[["id","=",1]]`, `[["OR",[["id","=",1],["name","~","a"]]]]`, `[["tags","rin","x"]]`, `[[],[[]]]`, `null`,
	} {
		f.Add([]byte(seed))
	}
	rows := testRows()
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		pass, err := filtersOf(raw)
		if err != nil {
			return
		}
		for _, row := range rows {
			pass(row)
		}
	})
}
