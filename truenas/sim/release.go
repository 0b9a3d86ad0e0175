package sim

import "fmt"

// generation describes a release: its name in models and transcripts, and the exact versions whose API it offers, the oldest
// first. Each version has an endpoint; "25.10" alone has none.
type generation struct {
	release  release
	name     string
	system   string // result of system.version
	versions []string
}

// generations lists the supported releases. A NAS offers the API of its own version and of some earlier ones.
func generations() []generation {
	listed := []string{"v25.04.0", "v25.04.1", "v25.04.2", "v25.10.0", "v25.10.1", "v26.0.0", "v27.0.0"}
	return []generation{
		{v25_04_2, "25.04.2", "TrueNAS-25.04.2", listed[:3]},
		{v25_10, "25.10", "TrueNAS-25.10.6", listed[:5]},
		{v26, "26", "TrueNAS-26.0.0", listed[:6]},
		{v27, "27", "TrueNAS-27.0.0", listed[:7]},
	}
}

// String returns the name in models and transcripts.
func (r release) String() string {
	for _, g := range generations() {
		if g.release == r {
			return g.name
		}
	}
	return fmt.Sprintf("release(%d)", int(r))
}

// generationOf finds a release by its name.
func generationOf(name string) (generation, error) {
	for _, g := range generations() {
		if g.name == name {
			return g, nil
		}
	}
	return generation{}, fmt.Errorf("release %q is none of 25.04.2, 25.10, 26, 27", name)
}
