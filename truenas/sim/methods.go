package sim

import "maps"

// methodTable returns the methods of a release. The reply to all others is "Method does not exist".
func methodTable(r release) map[string]method {
	table := map[string]method{}
	for _, part := range []map[string]method{
		authMethods, coreMethods, systemMethods,
		vmMethods, deviceMethods, passthroughMethods,
		datasetMethods, snapshotMethods, replicationMethods,
		filesystemMethods,
	} {
		maps.Copy(table, part)
	}
	maps.DeleteFunc(table, func(_ string, m method) bool { return !m.in(r) })
	for name, m := range table {
		if m.early != nil && r <= v25_04_2 {
			m.roles = m.early
			table[name] = m
		}
	}
	return table
}
