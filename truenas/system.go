package truenas

import (
	"context"
	"slices"
	"strings"
)

// System queries the NAS itself.
type System struct{ c *Client }

// SystemInfo describes the NAS.
type SystemInfo struct {
	Version       string  `json:"version"`
	Hostname      string  `json:"hostname"`
	Model         string  `json:"model"` // of the processor
	Cores         int     `json:"cores"`
	PhysicalCores int     `json:"physical_cores"`
	MemoryBytes   int64   `json:"physmem"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	Timezone      string  `json:"timezone"`
}

// A Pool is a ZFS pool. A dataset cannot use all of the free bytes: see the available bytes of the
// root dataset.
type Pool struct {
	Name      string `json:"name"`
	Healthy   bool   `json:"healthy"`
	Status    string `json:"status"`
	SizeBytes int64  `json:"size"`
	FreeBytes int64  `json:"free"`
}

// An Interface is a network interface of the NAS.
type Interface struct {
	Name          string   `json:"name"`
	Type          string   `json:"type"`     // PHYSICAL, BRIDGE, VLAN, LINK_AGGREGATION
	VLANTag       int      `json:"vlan_tag"` // of a VLAN
	VLANParent    string   `json:"vlan_parent_interface"`
	BridgeMembers []string `json:"bridge_members"`
}

// A PhysicalDisk is a disk of the NAS.
type PhysicalDisk struct {
	Name string `json:"name"`
	Type string `json:"type"` // "SSD" or "HDD"; empty: unknown
	Pool string `json:"pool"` // empty: no pool
}

var (
	diskQuery      = method[[]PhysicalDisk]{"disk.query", read}
	systemInfo     = method[SystemInfo]{"system.info", read}
	systemVersion  = method[string]{"system.version", read}
	poolQuery      = method[[]Pool]{"pool.query", read}
	interfaceQuery = method[[]Interface]{"interface.query", read}
	coreARP        = method[map[string]string]{"core.arp", read}
)

// Info needs the role READONLY_ADMIN.
func (s System) Info(ctx context.Context) (SystemInfo, error) { return systemInfo.call(ctx, s.c) }

// Version is the full version of TrueNAS, such as "TrueNAS-25.10.1".
func (s System) Version(ctx context.Context) (string, error) { return systemVersion.call(ctx, s.c) }

// Pools returns the pools.
func (s System) Pools(ctx context.Context) ([]Pool, error) {
	return poolQuery.call(ctx, s.c, query(nil)...)
}

// Disks returns the disks with their pools.
func (s System) Disks(ctx context.Context) ([]PhysicalDisk, error) {
	return diskQuery.call(ctx, s.c, query(nil, queryOptions{Extra: map[string]any{"pools": true}, Select: []string{"name", "type", "pool"}})...)
}

// Interfaces returns the network interfaces.
func (s System) Interfaces(ctx context.Context) ([]Interface, error) {
	return interfaceQuery.call(ctx, s.c, query(nil)...)
}

// ARP maps MAC addresses, in lower case with colons, to the IP addresses with which the NAS has
// talked recently. It needs FULL_ADMIN: expect [ErrPermission].
func (s System) ARP(ctx context.Context) (map[string][]string, error) {
	table, err := coreARP.call(ctx, s.c, struct{}{})
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for ip, mac := range table {
		mac = strings.ToLower(strings.ReplaceAll(mac, "-", ":"))
		out[mac] = append(out[mac], ip)
	}
	for mac := range out {
		slices.Sort(out[mac])
	}
	return out, nil
}
