package server

// RolesOfFeatures is the table of roles, for the tests that run every feature with just these.
func RolesOfFeatures() map[string][]string {
	table := map[string][]string{}
	for f, roles := range rolesOf {
		table[string(f)] = roles
	}
	return table
}
