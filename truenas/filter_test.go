package truenas

import "testing"

func TestNamesDatasets(t *testing.T) {
	for _, tt := range []struct {
		name    string
		filters []Filter
		want    bool
	}{
		{"one by its id", []Filter{{"id", "=", "tank/a"}}, true},
		{"several by their ids", []Filter{{"id", "in", []string{"tank/a", "tank/b"}}}, true},
		{"a part of an id", []Filter{{"id", "^", "tank/"}}, false},
		{"another field", []Filter{{"pool", "=", "tank"}}, false},
		{"two filters", []Filter{{"id", "=", "tank/a"}, {"pool", "=", "tank"}}, false},
		{"half a filter", []Filter{{"id", "="}}, false},
		{"no filter", nil, false},
	} {
		if got := namesDatasets(tt.filters); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
}
