package truenas

import "strings"

// The smallest role that TrueNAS requires for each method used here. A role that ends in _WRITE
// includes the one that ends in _READ, and FULL_ADMIN includes all. Methods that are not listed
// need only a login.
var roleOfMethod = map[string]string{
	"filesystem.put":          "FULL_ADMIN",
	"filesystem.get":          "FULL_ADMIN",
	"core.download":           "FULL_ADMIN", // for filesystem.get, the only download used here
	"core.arp":                "FULL_ADMIN",
	"filesystem.stat":         "FILESYSTEM_ATTRS_READ",
	"filesystem.listdir":      "FILESYSTEM_ATTRS_READ",
	"interface.query":         "NETWORK_INTERFACE_READ",
	"pool.query":              "POOL_READ",
	"disk.query":              "DISK_READ",
	"replication.run_onetime": "REPLICATION_TASK_WRITE",
	"system.info":             "READONLY_ADMIN",
	// 25.04.2 has no role for these, and none for replication.run_onetime.
	"zfs.snapshot.clone":    "FULL_ADMIN",
	"zfs.snapshot.rollback": "FULL_ADMIN",
}

// The families of methods whose roles depend on whether they read or write.
var roleOfFamily = []struct{ prefix, role string }{
	{"vm.device.", "VM_DEVICE"},
	{"vm.", "VM"},
	{"pool.dataset.", "DATASET"},
	{"pool.snapshot.", "SNAPSHOT"},
	{"zfs.snapshot.", "SNAPSHOT"},
}

// reading are the suffixes of methods that change nothing.
var reading = []string{".query", ".get_instance", ".processes", "_choices", ".get_available_memory", ".get_guest_network_interfaces"}

// roleFor returns the role that a method needs, or "" if it needs none or is unknown.
func roleFor(method string) string {
	if role, ok := roleOfMethod[method]; ok {
		return role
	}
	for _, family := range roleOfFamily {
		if !strings.HasPrefix(method, family.prefix) {
			continue
		}
		for _, end := range reading {
			if strings.HasSuffix(method, end) {
				return family.role + "_READ"
			}
		}
		return family.role + "_WRITE"
	}
	return ""
}

// Holds reports whether roles, as in [Status], include the wanted role.
func Holds(roles []string, wanted string) bool {
	object, read := strings.CutSuffix(wanted, "_READ")
	for _, held := range roles {
		if held == wanted || held == "FULL_ADMIN" || read && (held == object+"_WRITE" || held == "READONLY_ADMIN") {
			return true
		}
	}
	return false
}
