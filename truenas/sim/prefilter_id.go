package sim

import "encoding/json"

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
