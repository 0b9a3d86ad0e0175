package sim

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

var datasetMethods = map[string]method{
	"pool.dataset.query":                      {roles: []string{"DATASET_READ"}, run: datasetQuery},
	"pool.dataset.get_instance":               {roles: []string{"DATASET_READ"}, run: datasetGet},
	"pool.dataset.create":                     {roles: []string{"DATASET_WRITE"}, run: datasetCreate},
	"pool.dataset.update":                     {roles: []string{"DATASET_WRITE"}, run: datasetUpdate},
	"pool.dataset.delete":                     {roles: []string{"DATASET_DELETE", "DATASET_WRITE"}, run: datasetDelete},
	"pool.dataset.promote":                    {roles: []string{"DATASET_WRITE"}, run: datasetPromote},
	"pool.dataset.rename":                     {since: v25_10, roles: []string{"DATASET_WRITE"}, run: datasetRename},
	"pool.dataset.attachments":                {roles: []string{"DATASET_READ"}, run: datasetAttachments},
	"pool.dataset.snapshot_count":             {roles: []string{"DATASET_READ"}, run: datasetSnapshotCount},
	"pool.dataset.processes":                  {roles: []string{"DATASET_READ"}, run: datasetProcesses},
	"pool.dataset.recommended_zvol_blocksize": {roles: []string{"DATASET_READ"}, run: datasetBlocksize},
}

// datasetExtra is the "extra" of query options for datasets.
type datasetExtra struct {
	Extra struct {
		Flat             *bool     `json:"flat"`
		RetrieveChildren *bool     `json:"retrieve_children"`
		RetrieveUser     *bool     `json:"retrieve_user_props"`
		Snapshots        bool      `json:"snapshots"`
		Properties       *[]string `json:"properties"`
	} `json:"extra"`
}

// datasetView reads the contents of rows from query options.
func (c *call) datasetView(at int) (v datasetView, flat bool) {
	var o datasetExtra
	if len(c.params) > at && json.Unmarshal(c.params[at], &o) != nil {
		o = datasetExtra{} // the query refuses malformed options
	}
	v = datasetView{children: true, user: true, snapshots: o.Extra.Snapshots, release: c.release()}
	if o.Extra.RetrieveUser != nil {
		v.user = *o.Extra.RetrieveUser
	}
	if o.Extra.RetrieveChildren != nil {
		v.children = *o.Extra.RetrieveChildren
	}
	if o.Extra.Properties != nil {
		v.only = map[string]bool{}
		for _, name := range *o.Extra.Properties {
			v.only[name] = true
		}
	}
	return v, o.Extra.Flat == nil || *o.Extra.Flat
}

func datasetQuery(c *call) (any, error) {
	s := &c.sim.state
	v, flat := c.datasetView(1)
	filtered := len(c.params) > 0 && string(bytes.TrimSpace(c.params[0])) != "[]"
	if c.release() >= v25_10 && c.counts() {
		return c.countDatasets(filtered || v.children)
	}
	if c.release() >= v25_10 {
		flat = flat || filtered // A tree contains only the datasets that pass the filters.
	}
	// Without children TrueNAS reads only the root datasets, unless a filter leads to others.
	flat = flat && (v.children || c.leadsBelow(filtered))
	keep := c.prefilter()
	rows := []map[string]any{}
	for _, name := range s.datasetsThat(func(d *dataset) bool {
		return !v.release.hidden(d.Name) && (flat || !strings.Contains(d.Name, "/")) && keep(s.cheap(d, v))
	}) {
		rows = append(rows, s.row(s.Datasets[name], v))
	}
	answer, err := query(c, rows)
	c.sim.rows += datasetRows(answer)
	return answer, err
}

// leadsBelow reports whether a query without children reads below the root datasets: from 25.10 on with any filter, on 25.04.2
// only if its single filter names datasets.
func (c *call) leadsBelow(filtered bool) bool {
	if c.release() >= v25_10 {
		return filtered
	}
	field, op := c.onlyFilter()
	return (field == "id" || field == "name") && (op == "=" || op == "in")
}

// datasetRows counts the rows of a result, including children.
func datasetRows(answer any) int {
	n := 0
	switch rows := answer.(type) {
	case []map[string]any:
		for _, row := range rows {
			n += 1 + datasetRows(row["children"])
		}
	case []any:
		for _, row := range rows {
			n += datasetRows(row)
		}
	case map[string]any:
		n = 1 + datasetRows(rows["children"])
	}
	return n
}

// datasetsThat lists the names of some datasets in order.
func (s *state) datasetsThat(keep func(*dataset) bool) []string {
	var names []string
	for name, d := range s.Datasets {
		if keep(d) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// counts reports whether the query requests a count.
func (c *call) counts() bool {
	var o struct {
		Count bool `json:"count"`
	}
	return len(c.params) > 1 && json.Unmarshal(c.params[1], &o) == nil && o.Count
}

// countDatasets counts the examined datasets, which is before the filters.
func (c *call) countDatasets(children bool) (any, error) {
	if _, err := query(c, []map[string]any{}); err != nil {
		return nil, err
	}
	n := 0
	for name := range c.sim.state.Datasets {
		if !c.release().hidden(name) && (children || !strings.Contains(name, "/")) {
			n++
		}
	}
	return n, nil
}

func datasetGet(c *call) (any, error) {
	var id string
	var options json.RawMessage
	if err := c.args([]string{"id", "options"}, &id, &options); err != nil {
		return nil, err
	}
	d, err := c.dataset(id)
	if err != nil {
		return nil, err
	}
	v, _ := c.datasetView(1)
	v.user = true
	row := c.sim.state.row(d, v)
	c.sim.rows += datasetRows(row)
	return row, nil
}

// dataset returns the dataset with a name. Its error is that of get_instance.
func (c *call) dataset(name string) (*dataset, error) {
	if d := c.sim.state.Datasets[name]; d != nil && !c.release().hidden(name) {
		return d, nil
	}
	return nil, missing("PoolDataset %s does not exist", name)
}

// shownWhole is the result of create and update.
func (c *call) shownWhole(d *dataset) map[string]any {
	return c.sim.state.row(d, datasetView{children: true, user: true, release: c.release()})
}

func datasetSnapshotCount(c *call) (any, error) {
	var id string
	if err := c.args([]string{"dataset"}, &id); err != nil {
		return nil, err
	}
	d, err := c.dataset(id)
	if err != nil {
		return nil, err
	}
	return len(d.snaps), nil
}

func datasetBlocksize(c *call) (any, error) {
	var pool string
	if err := c.args([]string{"pool"}, &pool); err != nil {
		return nil, err
	}
	if _, err := c.dataset(pool); err != nil {
		return nil, err
	}
	return "16K", nil
}

// datasetAttachments lists the VMs that would stop if the dataset were deleted.
func datasetAttachments(c *call) (any, error) {
	var id string
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	d, err := c.dataset(id)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, m := range c.sim.attached(d) {
		names = append(names, m.Config.Name)
	}
	if len(names) == 0 {
		return []any{}, nil
	}
	return []any{map[string]any{"type": "VM", "service": nil, "attachments": names}}, nil
}
