package destroy

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// Contents are the contents of some datasets of this provider and their dependents, as reported by the NAS.
type Contents struct {
	roots     []string
	Datasets  []truenas.Dataset // the roots and everything below them
	Snapshots []truenas.Snapshot
	Clones    []truenas.Dataset // clones of those snapshots in other places
}

// Survey reads the contents of datasets, in two round trips.
func Survey(ctx context.Context, nas *truenas.Client, roots ...string) (*Contents, error) {
	c, err := SurveyDatasets(ctx, nas, roots...)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(c.Datasets))
	for i, d := range c.Datasets {
		ids[i] = d.ID
	}
	c.Snapshots, err = nas.Snapshots.Of(ctx, ids...)
	return c, err
}

// SurveyDatasets reads the contents of datasets without their snapshots. It finds clones by the raw value of their origin, because
// the other form is in capitals from 25.10 on.
func SurveyDatasets(ctx context.Context, nas *truenas.Client, roots ...string) (*Contents, error) {
	c := &Contents{roots: roots}
	if len(roots) == 0 {
		return c, nil
	}
	var filters []truenas.Filter
	for _, root := range roots {
		filters = append(filters, truenas.Where("id", root), truenas.Cond("id", "^", root+"/"), truenas.Cond("origin.rawvalue", "^", root+"/"), truenas.Cond("origin.rawvalue", "^", root+"@"))
	}
	all, err := nas.Datasets.List(ctx, truenas.AnyOf(filters...))
	if err != nil {
		return nil, err
	}
	c.Datasets, c.Clones = split(all, func(d truenas.Dataset) bool { return c.holds(d.ID) })
	return c, nil
}

// treeFilters returns the filters for a dataset and everything below it.
func treeFilters(root string) []truenas.Filter {
	return []truenas.Filter{truenas.AnyOf(truenas.Where("id", root), truenas.Cond("id", "^", root+"/"))}
}

func (c *Contents) holds(dataset string) bool {
	return slices.ContainsFunc(c.roots, func(root string) bool { return spec.InTree(dataset, root) })
}

// below returns the datasets without the file systems at the top.
func (c *Contents) below() []truenas.Dataset {
	return slices.DeleteFunc(slices.Clone(c.Datasets), func(d truenas.Dataset) bool {
		return d.Type != truenas.Volume && slices.Contains(c.roots, d.ID)
	})
}

// free refuses to destroy datasets that other objects depend on.
func (c *Contents) free() error {
	if err := c.OwnOnly(); err != nil {
		return err
	}
	if len(c.Clones) > 0 {
		return CloneError(c.Clones[0])
	}
	return nil
}

// OwnOnly refuses holds, and datasets that this provider did not create: it creates volumes in a dataset, or the dataset of
// an installer ISO, and nothing below them.
func (c *Contents) OwnOnly() error {
	for _, d := range c.below() {
		if d.Type != truenas.Volume && d.LocalUserProperties[spec.PropMedia] != spec.MediaISO || !slices.Contains(c.roots, d.ID) && !slices.Contains(c.roots, path.Dir(d.ID)) {
			return refusal.FailedPrecondition("dataset %s was not made by this provider; move it away or delete it first", d.ID)
		}
	}
	for _, s := range c.Snapshots {
		if len(s.Holds) > 0 {
			return HeldError(s)
		}
	}
	return nil
}

// HeldError is the error for a snapshot with holds. It names their tags.
func HeldError(s truenas.Snapshot) error {
	slices.Sort(s.Holds)
	return fmt.Errorf("snapshot %s %w (tag %s), as for a replication; release the hold first", s.ID, truenas.ErrHeld, strings.Join(s.Holds, ", "))
}

// CloneError refuses a removal because of a clone.
func CloneError(d truenas.Dataset) error {
	return refusal.Withheld(refusal.InUse("%s is a clone of %s; delete or promote it first", d.ID, d.Origin), "a clone of a disk of this VM exists outside of this provider; the provider's log names it")
}

// DropUncloned removes the snapshots without clones. A promotion would move them to the clone together with its origin, where no
// code knows them.
func (c *Contents) DropUncloned(ctx context.Context, nas *truenas.Client) error {
	used := map[string]bool{}
	for _, d := range slices.Concat(c.Clones, c.Datasets) {
		used[d.Origin] = true
	}
	loose, _ := split(c.Snapshots, func(s truenas.Snapshot) bool { return !used[s.ID] })
	return Snapshots(ctx, nas, loose)
}
