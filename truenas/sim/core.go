package sim

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
)

var coreMethods = map[string]method{
	"core.ping":         {open: v25_10, run: ping},
	"core.set_options":  {open: v25_10, run: setOptions},
	"core.subscribe":    {run: subscribe},
	"core.unsubscribe":  {run: unsubscribe},
	"core.get_jobs":     {run: getJobs},
	"core.job_abort":    {run: abortJob},
	"core.job_wait":     {job: true, run: waitForJob},
	"core.download":     {run: startDownload},
	"core.get_methods":  {run: getMethods},
	"core.get_services": {run: getServices},
}

func ping(c *call) (any, error) { return "pong", c.args(nil) }

// setOptions stores the known options and ignores the rest. They do not change the simulator's replies.
func setOptions(c *call) (any, error) {
	var options map[string]json.RawMessage
	if err := c.args([]string{"options"}, &options); err != nil {
		return nil, err
	}
	if c.release() == v25_04_2 {
		return nil, nil
	}
	set := map[string]bool{"legacy_jobs": true, "private_methods": false, "py_exceptions": false}
	for name := range set {
		var value bool
		if raw, ok := options[name]; ok && json.Unmarshal(raw, &value) == nil {
			set[name] = value
		}
	}
	return set, nil
}

func getJobs(c *call) (any, error) {
	rows := []jobRow{}
	for _, j := range c.sim.jobs.list {
		if c.session.user.sees(j) {
			rows = append(rows, j.row())
		}
	}
	return query(c, rows)
}

func abortJob(c *call) (any, error) {
	var id int
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	j, err := c.sim.jobs.find(id, c.session.user)
	if err != nil {
		return nil, err
	}
	if !j.over() {
		j.abort()
	}
	return nil, nil
}

// waitForJob is a job that ends as another job does.
func waitForJob(c *call) (any, error) {
	var id int
	if err := c.args([]string{"id"}, &id); err != nil {
		return nil, err
	}
	var j *job
	var err error
	c.locked(func() { j, err = c.sim.jobs.find(id, c.session.user) })
	if err != nil {
		return nil, err
	}
	select {
	case <-j.done:
	case <-c.job.ctx.Done():
		return nil, context.Cause(c.job.ctx)
	}
	var result json.RawMessage
	c.locked(func() { result, err = j.result, j.err })
	if err == nil && result == nil {
		err = fail(eFAULT, "Job %d was aborted", id)
	}
	return result, err
}

// getMethods lists the methods of the release, of one service or of all.
func getMethods(c *call) (any, error) {
	var service *string
	var raw json.RawMessage
	target := "WS"
	if err := c.args([]string{"service?", "target?"}, &raw, &target); err != nil {
		return nil, err
	}
	if raw != nil && string(raw) != "null" {
		service = new(string)
		if bad := c.decode("service", raw, service); bad != nil {
			return nil, bad
		}
	}
	type entry struct {
		Job   bool     `json:"job"`
		Roles []string `json:"roles"`
	}
	list := map[string]entry{}
	for name, m := range c.sim.methods {
		if service == nil || *service == serviceOf(name) {
			list[name] = entry{m.job, append([]string{}, m.roles...)}
		}
	}
	return list, nil
}

func getServices(c *call) (any, error) {
	target := "WS"
	if err := c.args([]string{"target?"}, &target); err != nil {
		return nil, err
	}
	crud := []string{"vm", "vm.device", "pool", "pool.dataset", "pool.snapshot", "interface"}
	list := map[string]any{}
	for name := range c.sim.methods {
		service := serviceOf(name)
		kind := "service"
		if slices.Contains(crud, service) {
			kind = "crud"
		}
		list[service] = map[string]any{"type": kind, "config": map[string]any{}, "cli_description": nil}
	}
	return list, nil
}

// serviceOf returns a method's name without its last part.
func serviceOf(method string) string {
	return method[:strings.LastIndex(method, ".")]
}
