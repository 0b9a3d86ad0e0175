package sim

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestPrefiltersDropNoMatch compares each query with the same query plus a branch that no prefilter can evaluate.
func TestPrefiltersDropNoMatch(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			marks := map[string]string{"x:mark": "One"}
			must(0, n.AddDataset("tank/a", marks))
			must(0, n.AddVolume("tank/a/disk", 1<<20, map[string]string{"x:mark": "two"}))
			must(0, n.AddVolume("tank/a/more", 1<<20, nil))
			must(0, n.AddSnapshot("tank/a/disk@s"))
			must(0, n.AddSnapshot("tank/a@t"))
			must(0, n.AddClone("tank/a/disk@s", "tank/clone"))
			must(0, n.AddVM("Web", 1, 512, "tank/a/disk", "tank/a/more"))
			must(0, n.AddVM("db", 1, 512))
			must(0, n.EditDescription("Web", "the front"))
			n.device(1, object{"dtype": "NIC", "nic_attach": "br0", "mac": "02:00:00:00:00:01"})
			fields := map[string][]string{
				"vm.query":           {"name", "description", "uuid", "id", "devices.*.attributes.path", "devices.*.attributes.mac", "memory"},
				"pool.dataset.query": {"id", "name", "type", "origin.rawvalue", "user_properties.x:mark.rawvalue", "mountpoint"},
			}
			if n.release < v26 { // Later releases check the paths that filters name.
				method := "pool.snapshot.query"
				if n.release == v25_04_2 {
					method = "zfs.snapshot.query"
				}
				fields[method] = []string{"id", "name", "snapshot_name", "dataset", "pool", "properties.clones.value"}
			}
			values := []any{"Web", "the front", "f", "", nil, 1, "tank/a", "tank/a/disk@s", "/dev/zvol/tank/a/disk", "02:00:00:00:00:01", "One", "two", "VOLUME", ".*"}
			for method, paths := range fields {
				compared, found := 0, 0
				for _, path := range paths {
					for _, op := range []string{"=", "!=", "^", "!^", "$", "~", "rin", "rnin", "in", "nin", ">", "C=", "C^"} {
						for _, value := range values {
							if op == "in" || op == "nin" {
								value = []any{value}
							}
							filter := []any{path, op, value}
							plain, err := n.keys(method, filter)
							if err != nil {
								continue // The operator does not accept the value.
							}
							beside, err := n.keys(method, []any{"OR", []any{filter, []any{"locked", "=", "never"}}})
							if err != nil || !slices.Equal(plain, beside) {
								t.Errorf("%s %v: got %v, want %v, %v", method, filter, plain, beside, err)
							}
							compared++
							found += len(plain)
						}
					}
				}
				if compared < 500 || found < 500 {
					t.Errorf("%s: %d queries were compared and found %d records", method, compared, found)
				}
			}
		})
	}
}

// keys returns the names of the records that match one filter.
func (n *direct) keys(method string, filter []any) ([]string, error) {
	options := object{"extra": object{"flat": true}}
	if strings.HasSuffix(method, "snapshot.query") {
		options = object{}
	}
	raw, err := n.call(method, []any{filter}, options)
	if err != nil {
		return nil, err
	}
	var rows []struct{ Name string }
	if err := json.Unmarshal(raw, &rows); err != nil {
		return nil, err
	}
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = row.Name
	}
	return names, nil
}
