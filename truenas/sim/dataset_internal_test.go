package sim

import "testing"

// TrueNAS refuses to create its internal datasets, and shows none. It creates a few names that it then hides. Sources:
// is_internal_dataset of plugins/pool_/dataset.py, and from 25.10 on of dataset_query_utils.py.
func TestInternalDatasets(t *testing.T) {
	const reserved = "is using system internal managed dataset. Please specify a different parent."
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			for _, name := range []string{"tank/ix-apps", "tank/a/ix-apps-1/v", "tank/.system/x"} {
				n.fails(eINVAL, "'"+name+"' "+reserved, "pool.dataset.create", object{"name": name, "create_ancestors": true})
			}
			n.must(nil, "pool.dataset.create", object{"name": "tank/my-ix-apps"})
			want := map[string]bool{"tank/ix-applications-1": n.release == v25_04_2, "tank/.truenas_containers": n.release <= v25_10}
			for name, shown := range want {
				create := object{"name": name}
				if shown {
					n.must(nil, "pool.dataset.create", create)
				} else {
					n.fails(eNOENT, "PoolDataset "+name+" does not exist", "pool.dataset.create", create)
				}
				var rows []object
				n.must(&rows, "pool.dataset.query", []any{[]any{"id", "=", name}})
				if (len(rows) == 1) != shown {
					t.Errorf("the query for %s returns %v", name, rows)
				}
				if !shown {
					n.fails(eNOENT, "does not exist", "pool.dataset.get_instance", name)
					n.fails(eNOENT, "does not exist", "pool.dataset.update", name, object{"comments": "x"})
					n.fails(eNOENT, "does not exist", "pool.dataset.delete", name)
				}
			}
			var pool struct{ Children []object }
			n.must(&pool, "pool.dataset.get_instance", "tank")
			for _, child := range pool.Children {
				if shown, listed := want[child["name"].(string)]; listed && !shown {
					t.Errorf("the pool shows %v", child["name"])
				}
			}
		})
	}
}
