package server

import "virtrigaud-provider-truenas/truenas"

// RolesOfFeatures returns the table of roles on a release, for the tests that run every feature with exactly these roles.
func RolesOfFeatures(release string) map[string][]string {
	on := truenas.R25_10
	if release == "25.04.2" {
		on = truenas.R25_04_2
	}
	table := map[string][]string{}
	for f := range rolesOf {
		table[string(f)] = rolesOn(on, f)
	}
	return table
}
