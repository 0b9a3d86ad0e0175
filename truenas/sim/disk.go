package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// diskRow returns the row of a pool's disk.
func diskRow(p Pool, allocated int64) map[string]any {
	return map[string]any{
		"name": "vdb", "type": "DISK", "path": "/dev/vdb1", "guid": "1", "status": "ONLINE", "children": []any{},
		"device": "vdb1", "disk": "vdb", "unavail_disk": nil,
		"stats": map[string]any{
			"timestamp": 0, "read_errors": 0, "write_errors": 0, "checksum_errors": 0, "ops": make([]int, 7), "bytes": make([]int, 7),
			"size": p.SizeBytes, "allocated": allocated, "fragmentation": 0, "self_healed": 0,
			"configured_ashift": 12, "logical_ashift": 9, "physical_ashift": 9,
		},
	}
}

// diskQuery lists the disks of the NAS, one for each pool. As on the NAS, a row has the pool only if the query requests it.
// 25.04.2 adds the fields of its SMART service.
func diskQuery(c *call) (any, error) {
	var options struct {
		Extra struct {
			Pools bool `json:"pools"`
		} `json:"extra"`
	}
	if len(c.params) > 1 {
		if err := json.Unmarshal(c.params[1], &options); err != nil {
			return nil, err
		}
	}
	var rows []map[string]any
	for i, p := range c.sim.state.Pools {
		name := "vd" + string(rune('b'+i))
		row := map[string]any{
			"identifier": "{devicename}" + name, "name": name, "devname": name, "subsystem": "virtio", "number": i + 1, "serial": fmt.Sprintf("sim%d", i+1),
			"lunid": nil, "size": p.SizeBytes, "description": "", "transfermode": "Auto", "hddstandby": "ALWAYS ON", "advpowermgmt": "DISABLED",
			"expiretime": nil, "model": nil, "rotationrate": 7200, "type": "HDD", "zfs_guid": strconv.Itoa(i + 1), "bus": "VIRTIO", "enclosure": nil, "pool": nil,
		}
		if p.Flash {
			row["type"], row["rotationrate"] = "SSD", nil
		}
		if options.Extra.Pools {
			row["pool"] = p.Name
		}
		if c.release() == v25_04_2 {
			row["togglesmart"], row["smartoptions"], row["critical"], row["difference"], row["informational"] = true, "", nil, nil, nil
		}
		rows = append(rows, row)
	}
	return query(c, rows)
}
