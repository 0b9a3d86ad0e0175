package sim

import (
	"slices"
	"strings"
)

// Datasets whose names have certain parts belong to TrueNAS. Queries do not show them, and pool.dataset.create refuses them. The
// two use different lists, so that the creation of some names succeeds and then does not find its result.

// hidden reports whether queries leave a dataset out.
func (r release) hidden(name string) bool {
	parts := []string{"/.system", "/ix-applications", "/ix-apps"}
	switch {
	case r == v25_04_2:
		parts = []string{"/.system", "/ix-applications/", "/ix-apps", "/.ix-virt"}
	case r == v25_10:
		parts = append(parts, "/.ix-virt")
	default:
		parts = append(parts, "/.truenas_containers")
	}
	return ofBootPool(name) || hasPart(name, parts)
}

// reserved reports whether pool.dataset.create refuses a name.
func (r release) reserved(name string) bool {
	parts := []string{"/.system", "/ix-applications/", "/ix-apps"}
	if r <= v25_10 {
		parts = append(parts, "/.ix-virt")
	}
	return ofBootPool(name) || hasPart(name, parts)
}

func ofBootPool(name string) bool {
	return slices.Contains([]string{"boot-pool", "freenas-boot"}, poolOf(name))
}

func hasPart(name string, parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(name, part) })
}
