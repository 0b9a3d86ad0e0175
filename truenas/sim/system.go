package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var systemMethods = map[string]method{
	"system.info":            {roles: []string{readonlyAdmin}, run: systemInfo},
	"system.host_id":         {roles: []string{readonlyAdmin}, run: constant(strings.Repeat("5e", 32))},
	"system.version":         {run: systemVersion},
	"system.version_short":   {run: systemVersionShort},
	"system.ready":           {roles: []string{"SYSTEM_GENERAL_READ"}, run: constant(true)},
	"system.state":           {roles: []string{"SYSTEM_GENERAL_READ"}, run: constant("READY")},
	"system.product_type":    {roles: []string{"SYSTEM_PRODUCT_READ"}, run: constant("COMMUNITY_EDITION")},
	"interface.query":        {roles: []string{"NETWORK_INTERFACE_READ"}, run: interfaceQuery},
	"core.arp":               {roles: []string{fullAdmin}, run: arp},
	"interface.get_instance": {roles: []string{"NETWORK_INTERFACE_READ"}, run: interfaceGet},
	"pool.query":             {roles: []string{"POOL_READ"}, run: poolQuery},
	"pool.get_instance":      {roles: []string{"POOL_READ"}, run: poolGet},
	"disk.query":             {roles: []string{"DISK_READ"}, run: diskQuery},
}

func systemVersion(c *call) (any, error) { return constant(c.sim.generation.system)(c) }

func systemVersionShort(c *call) (any, error) {
	return constant(strings.TrimPrefix(c.sim.generation.system, "TrueNAS-"))(c)
}

func systemInfo(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	now := any(c.now().UTC().Format(time.RFC3339))
	if c.release() == v25_04_2 {
		now = map[string]any{"$date": c.now().UnixMilli()}
	}
	return map[string]any{
		"version": c.sim.generation.system, "buildtime": now, "hostname": "truenas", "physmem": c.sim.cfg.MemoryBytes,
		"model": "Simulated CPU", "cores": c.sim.cfg.CPUs, "physical_cores": c.sim.cfg.CPUs,
		"loadavg": []float64{0, 0, 0}, "uptime": "1 day, 0:00:00", "uptime_seconds": 86400.0,
		"system_serial": nil, "system_product": "Simulator", "system_product_version": nil, "license": nil,
		"boottime": now, "datetime": now, "timezone": "UTC", "system_manufacturer": nil, "ecc_memory": false,
	}, nil
}

func poolQuery(c *call) (any, error) {
	rows := make([]map[string]any, 0, len(c.sim.state.Pools))
	for i := range c.sim.state.Pools {
		rows = append(rows, c.poolRow(i))
	}
	return query(c, rows)
}

func poolGet(c *call) (any, error) {
	var id int
	var options json.RawMessage
	if err := c.args([]string{"id", "options"}, &id, &options); err != nil {
		return nil, err
	}
	if id < 1 || id > len(c.sim.state.Pools) {
		return nil, missing("Pool %d does not exist", id)
	}
	return c.poolRow(id - 1), nil
}

// idleScan is a scan or an expansion of a pool that never ran: up to 25.10 an object of nulls, as recorded, and from 26 on null.
func (c *call) idleScan(fields string) any {
	if c.release() >= v26 {
		return nil
	}
	return nulls(fields)
}

// poolRow returns a pool in the API's form. Its free space includes slop and reservations, so less is usable.
func (c *call) poolRow(i int) map[string]any {
	p := c.sim.state.Pools[i]
	allocated := c.sim.state.allocated(p.Name)
	free := p.SizeBytes - allocated
	row := map[string]any{
		"id": i + 1, "name": p.Name, "guid": strconv.Itoa(1000001 + i), "status": "ONLINE", "path": "/mnt/" + p.Name,
		"scan": c.idleScan(scanFields), "expand": c.idleScan(expandFields), "healthy": true, "warning": false, "status_code": "OK", "status_detail": nil,
		"size": p.SizeBytes, "allocated": allocated, "free": free, "freeing": 0, "dedup_table_size": 0, "dedup_table_quota": "auto",
		"fragmentation": "0", "size_str": fmt.Sprint(p.SizeBytes), "allocated_str": fmt.Sprint(allocated), "free_str": fmt.Sprint(free), "freeing_str": "0",
		"autotrim": map[string]any{"parsed": "off", "rawvalue": "off", "value": "off", "source": "DEFAULT"},
		"topology": map[string]any{"data": []any{diskRow(p, allocated)}, "log": []any{}, "cache": []any{}, "spare": []any{}, "special": []any{}, "dedup": []any{}},
	}
	if p.Degraded {
		row["status"], row["healthy"], row["status_code"] = "DEGRADED", false, "FAULTED_DEV_R"
		row["status_detail"] = "One or more devices are faulted in response to persistent errors."
	}
	if c.release() >= v26 {
		row["all_sed"] = nil
	}
	return row
}

// The fields of a scrub and of an expansion.
const (
	scanFields   = "bytes_issued bytes_processed bytes_to_process end_time errors function pause percentage start_time state total_secs_left"
	expandFields = "bytes_reflowed bytes_to_reflow end_time expanding_vdev percentage start_time state total_secs_left waiting_for_resilver"
)

func nulls(names string) map[string]any {
	out := map[string]any{}
	for _, name := range strings.Fields(names) {
		out[name] = nil
	}
	return out
}
